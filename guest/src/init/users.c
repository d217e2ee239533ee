#include "users.h"

#include <string.h>

#include "text.h"

// (uid_t)-1 means "unchanged" to setresuid(2).
#define ID_MAX 4294967294u
#define FIELDS_MAX 7

struct field {
    const char *start;
    size_t length;
};

// Cuts the next line into fields at the colons. False at the end of the text.
static bool next_entry(const char **at, const char *end, struct field fields[FIELDS_MAX], size_t *count)
{
    if (*at >= end)
        return false;
    const char *stop = memchr(*at, '\n', (size_t)(end - *at));
    if (stop == NULL)
        stop = end;

    const char *start = *at;
    *count = 0;
    for (;;) {
        const char *colon = memchr(start, ':', (size_t)(stop - start));
        bool last = colon == NULL || *count == FIELDS_MAX - 1;
        fields[*count] = (struct field){start, (size_t)((last ? stop : colon) - start)};
        ++*count;
        if (last)
            break;
        start = colon + 1;
    }
    *at = stop < end ? stop + 1 : end;
    return true;
}

static bool equals(struct field field, const char *text, size_t length)
{
    return field.length == length && memcmp(field.start, text, length) == 0;
}

static bool to_id(const char *text, size_t length, unsigned *id)
{
    char digits[16];
    uint64_t value;

    if (length >= sizeof digits)
        return false;
    memcpy(digits, text, length);
    digits[length] = '\0';
    if (!parse_number(digits, ID_MAX, &value))
        return false;
    *id = (unsigned)value;
    return true;
}

static bool is_member(struct field members, const char *name, size_t length)
{
    const char *at = members.start;
    const char *end = members.start + members.length;

    while (at <= end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma == NULL ? end : comma;
        if ((size_t)(stop - at) == length && memcmp(at, name, length) == 0)
            return true;
        at = stop + 1;
    }
    return false;
}

// A number is always an id, also when a user has that number as its name (as container runtimes do it).
static const char *find_user(const char *name, size_t length, const char *passwd, size_t size,
                             struct identity *identity, struct field *login)
{
    struct field fields[FIELDS_MAX];
    size_t count;
    unsigned uid;
    unsigned wanted;
    unsigned gid;
    bool numeric = to_id(name, length, &wanted);

    for (const char *at = passwd, *end = passwd + size; next_entry(&at, end, fields, &count);) {
        if (count < 4 || !to_id(fields[2].start, fields[2].length, &uid) ||
            !to_id(fields[3].start, fields[3].length, &gid))
            continue;
        if (numeric ? uid != wanted : !equals(fields[0], name, length))
            continue;
        identity->uid = uid;
        identity->gid = gid;
        *login = fields[0];
        if (count > 5 && fields[5].length > 0 && fields[5].length < sizeof identity->home) {
            memcpy(identity->home, fields[5].start, fields[5].length);
            identity->home[fields[5].length] = '\0';
        }
        return NULL;
    }
    if (!numeric)
        return "is not a user in /etc/passwd";
    identity->uid = wanted;
    return NULL;
}

static const char *find_group(const char *name, const char *groups, size_t size, gid_t *gid)
{
    struct field fields[FIELDS_MAX];
    size_t count;
    unsigned id;

    if (to_id(name, strlen(name), &id)) {
        *gid = id;
        return NULL;
    }
    for (const char *at = groups, *end = groups + size; next_entry(&at, end, fields, &count);)
        if (count >= 3 && equals(fields[0], name, strlen(name)) && to_id(fields[2].start, fields[2].length, &id)) {
            *gid = id;
            return NULL;
        }
    return "has a group that is not in /etc/group";
}

static const char *find_memberships(struct field login, const char *groups, size_t size, struct identity *identity)
{
    struct field fields[FIELDS_MAX];
    size_t count;
    unsigned gid;

    for (const char *at = groups, *end = groups + size; next_entry(&at, end, fields, &count);)
        if (count >= 4 && is_member(fields[3], login.start, login.length) &&
            to_id(fields[2].start, fields[2].length, &gid)) {
            if (identity->groups == GROUPS_MAX)
                return "is in more than 256 groups";
            identity->group[identity->groups++] = gid;
        }
    return NULL;
}

const char *resolve_user(const char *user, const char *passwd, size_t passwd_size, const char *group,
                         size_t group_size, struct identity *identity)
{
    struct field login = {NULL, 0};

    memset(identity, 0, sizeof *identity);
    memcpy(identity->home, "/", 2);
    if (user == NULL)
        user = "0";

    const char *colon = strchr(user, ':');
    size_t length = colon == NULL ? strlen(user) : (size_t)(colon - user);
    const char *wrong = length == 0 ? find_user("0", 1, passwd, passwd_size, identity, &login)
                                    : find_user(user, length, passwd, passwd_size, identity, &login);
    if (wrong != NULL)
        return wrong;
    if (colon != NULL && colon[1] != '\0')
        return find_group(colon + 1, group, group_size, &identity->gid);
    return login.length > 0 ? find_memberships(login, group, group_size, identity) : NULL;
}
