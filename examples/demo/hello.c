/* An HTTP server: GET / answers with one line. Static, so that it needs nothing else in the image. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* Reads up to the empty line that ends the request's head: closing with unread input would reset the connection. */
static int read_head(int connection, char *head, size_t size) {
    size_t used = 0;
    while (used < size - 1) {
        ssize_t count = read(connection, head + used, size - 1 - used);
        if (count <= 0)
            return 0;
        used += (size_t)count;
        head[used] = '\0';
        if (strstr(head, "\r\n\r\n"))
            return 1;
    }
    return 0;
}

static void answer(int connection) {
    char head[4096], body[256], response[512];
    const char *status = "200 OK";
    struct utsname system;
    struct timespec up;

    if (!read_head(connection, head, sizeof head))
        return;
    if (strncmp(head, "GET / ", 6) == 0) {
        uname(&system);
        clock_gettime(CLOCK_BOOTTIME, &up);
        snprintf(body, sizeof body, "hello from %.64s, Linux %.64s, up for %ld.%02ld s\n", system.nodename,
                 system.release, (long)up.tv_sec, up.tv_nsec / 10000000);
    } else {
        status = "404 Not Found";
        strcpy(body, "only GET / is here\n");
    }
    int size = snprintf(response, sizeof response,
                        "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                        status, strlen(body), body);
    if (write(connection, response, (size_t)size) < 0)
        perror("hello");
}

int main(void) {
    const char *text = getenv("PORT");
    int port = text ? atoi(text) : 8080;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    int on = 1, server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    signal(SIGPIPE, SIG_IGN);
    if (server < 0 || setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(server, (struct sockaddr *)&address, sizeof address) < 0 || listen(server, 16) < 0) {
        perror("hello");
        return 1;
    }
    printf("listening on port %d\n", port);
    fflush(stdout);
    for (;;) {
        int connection = accept(server, NULL, NULL);
        if (connection < 0)
            continue;
        answer(connection);
        close(connection);
    }
}
