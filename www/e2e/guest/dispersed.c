/* How fast functions are called that lie far apart: as many as asked for, of a few operations each, in an order that no
 * predictor knows. Arguments: functions (a power of two), calls. Prints nanoseconds a call, cold and warm. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { FUNCTION_BYTES = 64 };

typedef uint64_t (*function)(uint64_t);

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int main(int count, char **arguments)
{
    uint32_t functions = count > 1 ? (uint32_t)atoi(arguments[1]) : 64;
    uint32_t calls = count > 2 ? (uint32_t)atoi(arguments[2]) : 1000000;
    size_t bytes = (size_t)functions * FUNCTION_BYTES;
    uint8_t *code = mmap(0, bytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED)
        return 2;
    for (uint32_t i = 0; i < functions; i++) {
        uint8_t *to = code + (size_t)i * FUNCTION_BYTES;
        uint32_t factor = i * 2654435761u | 1;
        memcpy(to, "\x48\x69\xc7", 3); /* imul rax, rdi, factor */
        memcpy(to + 3, &factor, 4);
        memcpy(to + 7, "\x48\xc1\xc0\x0d\x48\x31\xf8\x48\x05", 9); /* rol rax, 13; xor rax, rdi; add rax, i */
        memcpy(to + 16, &i, 4);
        to[20] = 0xc3; /* ret */
    }
    uint64_t x = 1, expected = 1;
    double took[2];
    for (int pass = 0; pass < 2; pass++) {
        uint32_t at = 0;
        double start = seconds();
        for (uint32_t i = 0; i < calls; i++) {
            x = ((function)(void *)(code + (size_t)at * FUNCTION_BYTES))(x);
            at = (at * 1664525 + 1013904223) & (functions - 1);
        }
        took[pass] = (seconds() - start) * 1e9 / calls;
    }
    for (int pass = 0; pass < 2; pass++) {
        uint32_t at = 0;
        for (uint32_t i = 0; i < calls; i++) {
            uint64_t y = expected * (uint64_t)(int64_t)(int32_t)(at * 2654435761u | 1);
            expected = ((y << 13 | y >> 51) ^ expected) + at;
            at = (at * 1664525 + 1013904223) & (functions - 1);
        }
    }
    printf("%s %u %.1f %.1f\n", x == expected ? "right" : "WRONG", functions, took[0], took[1]);
    return x != expected;
}
