/* A floor: bytes back as they came. What the pipe and the BEAM's port cost, with nothing at the other end. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
    const size_t size = 1 << 20;
    char *buffer = malloc(size);
    ssize_t count;

    (void)fcntl(0, F_SETPIPE_SZ, 1 << 20);
    (void)fcntl(1, F_SETPIPE_SZ, 1 << 20);
    while (buffer && (count = read(0, buffer, size)) > 0) {
        for (ssize_t done = 0; done < count;) {
            ssize_t written = write(1, buffer + done, count - done);
            if (written < 0)
                return 1;
            done += written;
        }
    }
    free(buffer);
    return 0;
}
