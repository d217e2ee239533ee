/* An HTTP server that answers every request with one line. Static, so that it needs nothing else in the image. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char ANSWER[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 22\r\nConnection: close\r\n\r\n"
    "hello from a microVM!\n";

/* Up to the empty line that ends the request's head: closing with unread input would reset the connection. */
static void read_head(int connection) {
    char head[4096];
    size_t used = 0;
    while (used < sizeof head - 1) {
        ssize_t count = read(connection, head + used, sizeof head - 1 - used);
        if (count <= 0)
            return;
        used += (size_t)count;
        head[used] = '\0';
        if (strstr(head, "\r\n\r\n"))
            return;
    }
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
        read_head(connection);
        if (write(connection, ANSWER, sizeof ANSWER - 1) < 0)
            perror("hello");
        close(connection);
    }
}
