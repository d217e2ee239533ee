#include "network.h"

#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "power.h"
#include "say.h"

#define INTERFACES_MAX 64

static int open_socket(void)
{
    return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static bool bring_up(int fd, struct ifreq *request)
{
    if (ioctl(fd, SIOCGIFFLAGS, request) != 0)
        return false;
    request->ifr_flags |= IFF_UP;
    return ioctl(fd, SIOCSIFFLAGS, request) == 0;
}

void start_loopback(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    int fd = open_socket();

    if (fd < 0 || !bring_up(fd, &request))
        warn_errno("cannot bring up the loopback interface");
    if (fd >= 0)
        close(fd);
}

static bool find_ethernet(int fd, struct ifreq *request)
{
    for (int index = 1; index <= INTERFACES_MAX; index++) {
        request->ifr_ifindex = index;
        if (ioctl(fd, SIOCGIFNAME, request) == 0 && ioctl(fd, SIOCGIFHWADDR, request) == 0 &&
            request->ifr_hwaddr.sa_family == ARPHRD_ETHER)
            return true;
    }
    return false;
}

static void put_address(struct sockaddr *to, const struct address *address)
{
    struct sockaddr_in internet = {.sin_family = AF_INET};

    memcpy(&internet.sin_addr, address->octets, sizeof address->octets);
    memcpy(to, &internet, sizeof internet);
}

static struct address netmask(unsigned prefix)
{
    struct address mask = {{0}};

    for (unsigned bit = 0; bit < prefix; bit++)
        mask.octets[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
    return mask;
}

static bool add_default_route(int fd, const struct address *gateway)
{
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};

    put_address(&route.rt_gateway, gateway);
    put_address(&route.rt_dst, &(struct address){0});
    put_address(&route.rt_genmask, &(struct address){0});
    return ioctl(fd, SIOCADDRT, &route) == 0;
}

// Only where the image has none of its own: absent, empty, or a link to what a resolver would have made.
static bool is_unset(const char *path)
{
    struct stat status;

    return stat(path, &status) != 0 || status.st_size == 0;
}

static void write_unset(const char *path, const char *text)
{
    if (!is_unset(path) || write_file(path, text))
        return;
    if (errno == ENOENT && make_folders("/etc") && (unlink(path) == 0 || errno == ENOENT) && write_file(path, text))
        return;
    warn_errno("cannot write ", path);
}

static void write_nameservers(const struct static_network *network)
{
    char text[NAMESERVERS_MAX * 32];
    char number[DECIMAL_SIZE];
    char *end = text;

    for (unsigned i = 0; i < network->nameservers; i++) {
        end = stpcpy(end, "nameserver ");
        for (unsigned octet = 0; octet < 4; octet++)
            end = stpcpy(stpcpy(end, octet == 0 ? "" : "."), decimal(number, network->nameserver[i].octets[octet]));
        end = stpcpy(end, "\n");
    }
    if (network->nameservers > 0)
        write_unset("/etc/resolv.conf", text);
}

void start_network(const struct static_network *network)
{
    struct ifreq request = {0};
    int fd;

    if (!network->given)
        return;
    fd = open_socket();
    if (fd < 0)
        die_errno("fledge.ip: the kernel has no network");
    if (!find_ethernet(fd, &request))
        die("fledge.ip: there is no network interface");

    struct address mask = netmask(network->prefix);
    put_address(&request.ifr_addr, &network->address);
    if (ioctl(fd, SIOCSIFADDR, &request) != 0)
        die_errno("fledge.ip: cannot set the address of ", request.ifr_name);
    put_address(&request.ifr_netmask, &mask);
    if (ioctl(fd, SIOCSIFNETMASK, &request) != 0)
        die_errno("fledge.ip: cannot set the netmask of ", request.ifr_name);
    if (!bring_up(fd, &request))
        die_errno("fledge.ip: cannot bring up ", request.ifr_name);
    if (network->has_gateway && !add_default_route(fd, &network->gateway))
        die_errno("fledge.ip: cannot set the default route");
    close(fd);
    write_nameservers(network);
}

void set_host_name(const char *name)
{
    char text[128];

    if (name == NULL && read_file("/etc/hostname", text, sizeof text) > 0) {
        text[strcspn(text, " \t\r\n")] = '\0';
        if (*text != '\0' && strlen(text) <= 64)
            name = text;
    }
    if (name == NULL)
        name = "localhost";
    if (sethostname(name, strlen(name)) != 0)
        warn_errno("cannot set the host name ", name);
    write_unset("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
}
