/* SPDX-License-Identifier: MIT */
/*
 * socket-peer: what one would write to send a file over a socket, for comparison with ours.
 *
 *     socket-peer serve unix PATH DIR      socket-peer send unix PATH FILE
 *     socket-peer serve tcp  PORT DIR      socket-peer send tcp  PORT FILE     (loopback)
 *
 * The stream: a header, the name, the bytes, their hash; back comes one byte once the file has its
 * name. Both ends hash each piece while it is in cache. One client at a time, which is all that
 * the benchmark needs.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef HF_XXHASH_DISPATCH
#include <xxh_x86dispatch.h> /* picks AVX2 and the like at run time, as our command does */
#else
#include <xxhash.h>
#endif

/* By trial, 64 KiB to 1 MiB: what fits a second-level cache beside the socket's own buffers. */
#define PIECE ((size_t)512 * 1024)

/* By trial: the default of each kind is slower, more than this is no faster. */
#define UNIX_BUFFER (1 << 20)
#define TCP_BUFFER  (4 << 20)

struct header {
    uint64_t size;
    uint32_t name_length;
    uint32_t reserved;
};

typedef struct peer_transfer {
    int socket;
    int file;
    XXH3_state_t *hash;
} peer_transfer;

typedef union peer_address {
    struct sockaddr any;
    struct sockaddr_un local;
    struct sockaddr_in internet;
} peer_address;

static _Alignas(4096) unsigned char piece[PIECE];

static int complain(const char *what)
{
    (void)fprintf(stderr, "socket-peer: %s: %s\n", what, strerror(errno));
    return -1;
}

/* ---- whole amounts ------------------------------------------------------------------------ */

static int send_all(int fd, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            return complain("send");
        }
        bytes += sent;
        size -= (size_t)sent;
    }
    return 0;
}

static int receive_all(int fd, void *data, size_t size)
{
    unsigned char *bytes = data;
    while (size > 0) {
        ssize_t got = recv(fd, bytes, size, MSG_WAITALL);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            errno = got == 0 ? ECONNRESET : errno;
            return complain("receive");
        }
        bytes += got;
        size -= (size_t)got;
    }
    return 0;
}

static int write_all(int fd, const unsigned char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t put = write(fd, bytes, size);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return complain("write");
        }
        bytes += put;
        size -= (size_t)put;
    }
    return 0;
}

static void digest(const XXH3_state_t *hash, XXH128_canonical_t *result)
{
    XXH128_canonicalFromHash(result, XXH3_128bits_digest(hash));
}

/* ---- the sender --------------------------------------------------------------------------- */

static int send_header(int socket, const char *path, uint64_t size)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    struct header header = {.size = size, .name_length = (uint32_t)strlen(name)};
    if (send_all(socket, &header, sizeof(header)) != 0) {
        return -1;
    }
    return send_all(socket, name, header.name_length);
}

static int send_content(const peer_transfer *transfer, uint64_t size)
{
    while (size > 0) {
        ssize_t got = read(transfer->file, piece, PIECE);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0 || (uint64_t)got > size) {
            errno = got < 0 ? errno : EIO; /* it changed under us */
            return complain("read");
        }
        (void)XXH3_128bits_update(transfer->hash, piece, (size_t)got);
        if (send_all(transfer->socket, piece, (size_t)got) != 0) {
            return -1;
        }
        size -= (uint64_t)got;
    }
    XXH128_canonical_t sum;
    digest(transfer->hash, &sum);
    return send_all(transfer->socket, &sum, sizeof(sum));
}

static int send_file(const peer_transfer *transfer, const char *path)
{
    struct stat status;
    if (transfer->file < 0 || fstat(transfer->file, &status) != 0) {
        return complain(path);
    }
    unsigned char accepted = 0;
    if (send_header(transfer->socket, path, (uint64_t)status.st_size) != 0 ||
        send_content(transfer, (uint64_t)status.st_size) != 0 ||
        receive_all(transfer->socket, &accepted, sizeof(accepted)) != 0) {
        return -1;
    }
    return accepted == 1 ? 0 : -1;
}

/* ---- the receiver ------------------------------------------------------------------------- */

/* The name that the file shall have; one that could leave the directory is refused. */
static int receive_name(int socket, char name[256], uint64_t *size)
{
    struct header header;
    if (receive_all(socket, &header, sizeof(header)) != 0 || header.name_length == 0 ||
        header.name_length > 255 || receive_all(socket, name, header.name_length) != 0) {
        return -1;
    }
    name[header.name_length] = 0;
    *size = header.size;
    return name[0] == '.' || strchr(name, '/') != NULL ? -1 : 0;
}

static int receive_content(const peer_transfer *transfer, uint64_t size)
{
    while (size > 0) {
        size_t want = size < PIECE ? (size_t)size : PIECE;
        if (receive_all(transfer->socket, piece, want) != 0) {
            return -1;
        }
        (void)XXH3_128bits_update(transfer->hash, piece, want);
        if (write_all(transfer->file, piece, want) != 0) {
            return -1;
        }
        size -= want;
    }
    XXH128_canonical_t ours;
    XXH128_canonical_t theirs;
    digest(transfer->hash, &ours);
    if (receive_all(transfer->socket, &theirs, sizeof(theirs)) != 0) {
        return -1;
    }
    return memcmp(&ours, &theirs, sizeof(ours)) == 0 ? 0 : -1;
}

static int receive_file(int socket, XXH3_state_t *hash)
{
    static const char temporary[] = ".socket-peer.part";
    char name[256];
    uint64_t size = 0;
    if (receive_name(socket, name, &size) != 0) {
        return -1;
    }
    int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) {
        return complain(temporary);
    }
    peer_transfer transfer = {.socket = socket, .file = file, .hash = hash};
    int result = receive_content(&transfer, size);
    if (close(file) != 0 || (result == 0 && rename(temporary, name) != 0)) {
        result = complain(name);
    }
    if (result != 0) {
        (void)unlink(temporary);
        return -1;
    }
    const unsigned char accepted = 1;
    return send_all(socket, &accepted, sizeof(accepted));
}

/* ---- sockets ------------------------------------------------------------------------------ */

static int parse_address(const char *kind, const char *text, peer_address *address, socklen_t *size)
{
    memset(address, 0, sizeof(*address));
    if (strcmp(kind, "unix") == 0 && strlen(text) < sizeof(address->local.sun_path)) {
        address->local.sun_family = AF_UNIX;
        memcpy(address->local.sun_path, text, strlen(text) + 1);
        *size = sizeof(address->local);
        return 0;
    }
    char *end = NULL;
    unsigned long port = strtoul(text, &end, 10);
    if (strcmp(kind, "tcp") == 0 && *end == 0 && port <= UINT16_MAX) {
        address->internet.sin_family = AF_INET;
        address->internet.sin_port = htons((uint16_t)port);
        address->internet.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        *size = sizeof(address->internet);
        return 0;
    }
    errno = EINVAL;
    return complain(text);
}

/* Whether the system grants a buffer of this size: it cuts a larger wish down silently. */
static bool is_granted(int size)
{
    int granted = 0;
    socklen_t length = sizeof(granted);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    bool known = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0 &&
                 getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &granted, &length) == 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    return known && granted >= size;
}

/* A Unix socket's receiver has no buffer of its own. */
static void tune(int fd, int family)
{
    int size = family == AF_UNIX ? UNIX_BUFFER : TCP_BUFFER;
    int one = 1;
    if (family == AF_UNIX) {
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        return;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    /* A set size ends TCP's own tuning, which is better than a size that was cut down. */
    if (is_granted(size)) {
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    }
}

static int open_socket(const peer_address *address)
{
    int fd = socket(address->any.sa_family, SOCK_STREAM, 0);
    if (fd < 0) {
        return complain("socket");
    }
    tune(fd, address->any.sa_family);
    return fd;
}

static int serve(const char *kind, const char *text, const char *directory)
{
    peer_address address;
    socklen_t size;
    if (parse_address(kind, text, &address, &size) != 0) {
        return -1;
    }
    int listener = open_socket(&address);
    XXH3_state_t *hash = XXH3_createState();
    if (listener < 0 || hash == NULL || bind(listener, &address.any, size) != 0 ||
        listen(listener, 8) != 0 || getsockname(listener, &address.any, &size) != 0 ||
        chdir(directory) != 0) {
        return complain("serve");
    }
    if (address.any.sa_family == AF_INET) {
        (void)printf("ready %u\n", (unsigned)ntohs(address.internet.sin_port));
    } else {
        (void)printf("ready %s\n", text);
    }
    (void)fflush(stdout);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) {
            return complain("accept");
        }
        tune(client, address.any.sa_family);
        (void)XXH3_128bits_reset(hash);
        (void)receive_file(client, hash);
        (void)close(client);
    }
}

static int send_to(const char *kind, const char *text, const char *path)
{
    peer_address address;
    socklen_t size;
    if (parse_address(kind, text, &address, &size) != 0) {
        return -1;
    }
    peer_transfer transfer = {.socket = open_socket(&address), .hash = XXH3_createState()};
    if (transfer.socket < 0 || transfer.hash == NULL ||
        connect(transfer.socket, &address.any, size) != 0) {
        return complain(text);
    }
    (void)XXH3_128bits_reset(transfer.hash);
    transfer.file = open(path, O_RDONLY | O_CLOEXEC);
    return send_file(&transfer, path);
}

int main(int argc, char *argv[])
{
    if (argc == 5 && strcmp(argv[1], "serve") == 0) {
        return serve(argv[2], argv[3], argv[4]) == 0 ? 0 : 1;
    }
    if (argc == 5 && strcmp(argv[1], "send") == 0) {
        return send_to(argv[2], argv[3], argv[4]) == 0 ? 0 : 1;
    }
    (void)fputs("usage: socket-peer serve|send unix|tcp ADDRESS DIR|FILE\n", stderr);
    return 2;
}
