/* The worker process of "Work that moves" (docs/architecture.md), as fast as it can be: it sends calls, and takes back those that have not
   begun. Every call must be run or taken back, once.

     giving_back PAGE TABLE MOST_GIVE_BACKS MOST_SECONDS KILL_AFTER_US COMMAND ...

   The command's standard input is the pipe; it counts in TABLE, a byte a number, what it has begun. The page is written through a mapping, so
   that both sides are as close to each other as two cores are. With KILL_AFTER_US the command is killed then: what it has not begun must be
   beyond what the page says. Prints what it has seen; exit status 1 where a call was begun twice, or lost. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NONE UINT64_MAX
#define MOST_FRAMES 100000000ull

static uint8_t out[64 * 32];
static size_t filled;

static void put_call(uint32_t id) {
    static const uint8_t head[] = {0, 0, 0, 13, 131, 'h', 5, 'd', 0, 1, 'C', 'b'};
    memcpy(out + filled, head, sizeof head);
    for (int i = 0; i < 4; i++) out[filled + sizeof head + i] = (uint8_t)(id >> (24 - 8 * i));
    out[filled + sizeof head + 4] = 'j';
    filled += sizeof head + 5;
}

static void put_taken(uint64_t above) {
    static const uint8_t head[] = {0, 0, 0, 18, 131, 'h', 2, 'd', 0, 1, 'T', 'n', 8, 0};
    memcpy(out + filled, head, sizeof head);
    for (int i = 0; i < 8; i++) out[filled + sizeof head + i] = (uint8_t)(above >> (8 * i));
    filled += sizeof head + 8;
}

/* Whether somebody reads it. */
static int sent_all(int fd) {
    size_t at = 0;
    while (at < filled) {
        ssize_t count = write(fd, out + at, filled - at);
        if (count < 0) { filled = 0; return 0; }
        at += (size_t)count;
    }
    filled = 0;
    return 1;
}

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int main(int count, char **arguments) {
    if (count < 7) return 2;
    uint64_t most = strtoull(arguments[3], 0, 10), sent = 0, gave = 0, taken = 0, gone = 0;
    int64_t most_us = strtoll(arguments[4], 0, 10) * 1000000, kill_us = strtoll(arguments[5], 0, 10), start = now_us();
    int page_fd = open(arguments[1], O_RDWR), table_fd = open(arguments[2], O_RDWR), ends[2];
    volatile uint64_t *page = mmap(0, 64, PROT_READ | PROT_WRITE, MAP_SHARED, page_fd, 0);
    uint8_t *table = mmap(0, MOST_FRAMES, PROT_READ, MAP_SHARED, table_fd, 0), *given = calloc(MOST_FRAMES, 1);
    if (page == MAP_FAILED || table == MAP_FAILED || !given || pipe(ends)) return 2;
    pid_t child = fork();
    if (!child) {
        dup2(ends[0], 0);
        close(ends[1]);
        execvp(arguments[6], arguments + 6);
        _exit(127);
    }
    close(ends[0]);
    signal(SIGPIPE, SIG_IGN);
    unsigned seed = (unsigned)start;
    int killed = 0;
    while (gave < most && sent + 64 < MOST_FRAMES && now_us() - start < most_us) {
        if (kill_us && !killed && now_us() - start > kill_us) {
            kill(child, SIGKILL);
            waitpid(child, 0, 0);
            killed = 1;
        }
        /* Few are in the pipe, so that what is taken back is what is just about to begin. */
        uint64_t open_from = page[0] > gone ? page[0] : gone;
        if (sent - open_from < 32) {
            for (int i = 1 + rand_r(&seed) % 16; i > 0; i--) put_call((uint32_t)++sent);
            if (!sent_all(ends[1])) break;
        }
        /* Until some have begun, and then to some moment of the next one. */
        uint64_t until = open_from + (uint64_t)rand_r(&seed) % 16;
        for (int i = 0; i < 20000 && page[0] < until; i++) {}
        for (volatile int i = rand_r(&seed) % 1024; i > 0; i--) {}
        if (page[1] != NONE) continue;
        uint64_t limit = page[0] + rand_r(&seed) % 2;
        if (limit > sent) limit = sent;
        page[1] = limit;
        __sync_synchronize();
        uint64_t begun = page[0], above = begun > limit ? begun : limit, some = 0;
        for (uint64_t i = sent; i > above && !given[i]; i--) { given[i] = 1; some++; }
        if (some) gone = sent;
        gave += some > 0;
        taken += some;
        put_taken(above);
        if (!sent_all(ends[1])) break;
    }
    close(ends[1]);
    if (!killed) waitpid(child, 0, 0);
    uint64_t begun = page[0], twice = 0, lost = 0;
    for (uint64_t i = 1; i <= sent; i++) {
        if (table[i] + given[i] > 1 || (killed && table[i] && i > begun)) twice++;
        if (!killed && table[i] + given[i] == 0) lost++;
    }
    printf("sent %llu, taken back %llu in %llu times, begun twice %llu, lost %llu\n", (unsigned long long)sent,
        (unsigned long long)taken, (unsigned long long)gave, (unsigned long long)twice, (unsigned long long)lost);
    return twice || lost;
}
