/* Programs that come and go: each generation writes functions of its own into fresh memory, runs each some thousand
 * times and forgets them, as runtimes with compilers do. Arguments: generations, functions in each. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { FUNCTION_BYTES = 128, OPERATIONS = 12, TURNS = 4000 };

typedef uint64_t (*function)(uint64_t);

static uint32_t state = 1;

static uint32_t next(void)
{
    state = state * 1664525 + 1013904223;
    return state;
}

/* Writes a function of a few operations on RAX, and works out what they make of `x`. */
static uint64_t write_function(uint8_t *at, uint64_t x)
{
    uint8_t *to = at;
    memcpy(to, "\x48\x89\xf8", 3); /* mov rax, rdi */
    to += 3;
    for (int i = 0; i < OPERATIONS; i++) {
        uint32_t number = next();
        int32_t operand = (int32_t)(number >> 4);
        switch (number & 3) {
        case 0: /* add rax, operand */
            memcpy(to, "\x48\x05", 2);
            memcpy(to + 2, &operand, 4);
            to += 6;
            x += (uint64_t)(int64_t)operand;
            break;
        case 1: /* xor rax, operand */
            memcpy(to, "\x48\x35", 2);
            memcpy(to + 2, &operand, 4);
            to += 6;
            x ^= (uint64_t)(int64_t)operand;
            break;
        case 2: /* rol rax, 13 */
            memcpy(to, "\x48\xc1\xc0\x0d", 4);
            to += 4;
            x = x << 13 | x >> 51;
            break;
        default: /* bswap rax */
            memcpy(to, "\x48\x0f\xc8", 3);
            to += 3;
            x = __builtin_bswap64(x);
        }
    }
    *to = 0xc3; /* ret */
    return x;
}

int main(int count, char **arguments)
{
    int generations = count > 1 ? atoi(arguments[1]) : 1, functions = count > 2 ? atoi(arguments[2]) : 256;
    size_t bytes = (size_t)functions * FUNCTION_BYTES;
    uint64_t *expected = malloc((size_t)functions * sizeof *expected);
    if (!expected)
        return 2;
    for (int generation = 0; generation < generations; generation++) {
        /* Somewhere else each time. */
        size_t gap = (next() % 64 + 1) * 4096;
        uint8_t *area = mmap(0, bytes + gap, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (area == MAP_FAILED)
            return 2;
        uint8_t *code = area + gap;
        for (int i = 0; i < functions; i++)
            expected[i] = write_function(code + (size_t)i * FUNCTION_BYTES, (uint64_t)i);
        for (int turn = 0; turn < TURNS; turn++) {
            for (int i = 0; i < functions; i++) {
                uint64_t found = ((function)(void *)(code + (size_t)i * FUNCTION_BYTES))((uint64_t)i);
                if (found != expected[i]) {
                    printf("WRONG: generation %d, function %d: %llx\n", generation, i, (unsigned long long)found);
                    return 1;
                }
            }
        }
        munmap(area, bytes + gap);
    }
    printf("%d generations right\n", generations);
    return 0;
}
