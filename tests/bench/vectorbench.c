// vectorbench.c: hot loops of 256-bit vectors, as compilers and libraries make them of plain C. Prints lines as
// guestbench does, for the programs that are named. Built with gcc -O3 -mavx2; what uses FMA says so by itself.
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define FMA __attribute__((target("avx2,fma")))
#define ALONE __attribute__((noipa))

enum { N = 1 << 14 };
static float xs[N] __attribute__((aligned(64))), ys[N] __attribute__((aligned(64)));
static double xd[N] __attribute__((aligned(64))), yd[N] __attribute__((aligned(64)));
static int32_t whole[N] __attribute__((aligned(64)));
static uint8_t bytes[1 << 16] __attribute__((aligned(64)));

// Numbers that rounding shows in.
static void fill(void)
{
    uint32_t x = 12345;
    for (int i = 0; i < N; i++) {
        x = x * 1664525u + 1013904223u;
        xs[i] = xd[i] = 1.0 / (1 + (x >> 20));
        ys[i] = yd[i] = 3.0 / (1 + (x >> 16 & 0xfff));
        whole[i] = (int32_t)x;
    }
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = x = x * 1664525u + 1013904223u, bytes[i] = x >> 24;
}

static uint32_t digest(const void *from, size_t size)
{
    const uint32_t *words = from;
    uint32_t sum = 0;
    for (size_t i = 0; i < size / 4; i++)
        sum = (sum ^ words[i]) * 0x01000193u;
    return sum;
}

ALONE static void saxpy(float a) { for (int i = 0; i < N; i++) ys[i] = a * xs[i] + ys[i]; }
static uint32_t saxpy_f32(void)
{
    for (int r = 0; r < 60000; r++)
        saxpy(r & 1 ? 1.1f : -1.1f);
    return digest(ys, sizeof ys);
}

ALONE FMA static void saxpy_fused(float a) { for (int i = 0; i < N; i++) ys[i] = a * xs[i] + ys[i]; }
static uint32_t saxpy_f32_fma(void)
{
    for (int r = 0; r < 60000; r++)
        saxpy_fused(r & 1 ? 1.1f : -1.1f);
    return digest(ys, sizeof ys);
}

ALONE static void daxpy(double a) { for (int i = 0; i < N; i++) yd[i] = a * xd[i] + yd[i]; }
static uint32_t saxpy_f64(void)
{
    for (int r = 0; r < 30000; r++)
        daxpy(r & 1 ? 1.1 : -1.1);
    return digest(yd, sizeof yd);
}

ALONE FMA static void daxpy_fused(double a) { for (int i = 0; i < N; i++) yd[i] = a * xd[i] + yd[i]; }
static uint32_t saxpy_f64_fma(void)
{
    for (int r = 0; r < 30000; r++)
        daxpy_fused(r & 1 ? 1.1 : -1.1);
    return digest(yd, sizeof yd);
}

// The order of the loops that vectorises without sums being put in another order.
static uint32_t matmul_f64(void)
{
    enum { M = 192 };
    static double a[M][M], b[M][M], c[M][M];
    for (int i = 0; i < M; i++)
        for (int j = 0; j < M; j++)
            a[i][j] = xd[i * 17 + j], b[i][j] = yd[i + j * 13], c[i][j] = 0;
    for (int r = 0; r < 60; r++)
        for (int i = 0; i < M; i++)
            for (int k = 0; k < M; k++)
                for (int j = 0; j < M; j++)
                    c[i][j] += a[i][k] * b[k][j];
    return digest(c, sizeof c);
}

// Eight points of the Mandelbrot set at a time.
static uint32_t mandelbrot_f32(void)
{
    uint32_t sum = 0;
    const __m256 steps = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7), four = _mm256_set1_ps(4);
    for (int row = 0; row < 1152; row++)
        for (int column = 0; column < 512; column += 8) {
            __m256 cx = _mm256_mul_ps(_mm256_add_ps(_mm256_set1_ps(column), steps), _mm256_set1_ps(3.0f / 512));
            cx = _mm256_sub_ps(cx, _mm256_set1_ps(2.1f));
            const __m256 cy = _mm256_set1_ps(row * (2.6f / 1152) - 1.3f);
            __m256 x = cx, y = cy;
            __m256i count = _mm256_setzero_si256();
            for (int i = 0; i < 200; i++) {
                __m256 xx = _mm256_mul_ps(x, x), yy = _mm256_mul_ps(y, y), xy = _mm256_mul_ps(x, y);
                __m256 inside = _mm256_cmp_ps(_mm256_add_ps(xx, yy), four, _CMP_LT_OS);
                if (!_mm256_movemask_ps(inside))
                    break;
                count = _mm256_sub_epi32(count, _mm256_castps_si256(inside));
                // Points that are outside stand still.
                x = _mm256_blendv_ps(x, _mm256_add_ps(_mm256_sub_ps(xx, yy), cx), inside);
                y = _mm256_blendv_ps(y, _mm256_add_ps(_mm256_add_ps(xy, xy), cy), inside);
            }
            uint32_t counts[8];
            _mm256_storeu_si256((__m256i *)counts, count);
            sum = sum * 31 + digest(counts, sizeof counts);
        }
    return sum;
}

ALONE static int32_t sum_of(void)
{
    uint32_t sum = 0;
    for (int i = 0; i < N; i++)
        sum += (uint32_t)whole[i];
    return (int32_t)sum;
}
static uint32_t sum_i32(void)
{
    uint32_t sum = 0;
    for (int r = 0; r < 120000; r++)
        sum += (uint32_t)sum_of();
    return sum;
}

ALONE static int32_t largest_of(void)
{
    int32_t largest = INT32_MIN;
    for (int i = 0; i < N; i++)
        largest = whole[i] > largest ? whole[i] : largest;
    return largest;
}
static uint32_t max_i32(void)
{
    uint32_t sum = 0;
    for (int r = 0; r < 120000; r++)
        sum += (uint32_t)largest_of();
    return sum;
}

// As a library's memchr.
ALONE static const uint8_t *find(const uint8_t *at, const uint8_t *end, uint8_t byte)
{
    const __m256i wanted = _mm256_set1_epi8((char)byte);
    for (; at < end; at += 32) {
        uint32_t found = (uint32_t)_mm256_movemask_epi8(
            _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)at), wanted));
        if (found)
            return at + __builtin_ctz(found);
    }
    return end;
}
static uint32_t find_byte(void)
{
    static uint8_t text[1 << 16];
    uint32_t sum = 0;
    memset(text, 'a', sizeof text);
    for (int r = 0; r < 60000; r++) {
        size_t place = sizeof text - 1 - (size_t)r;
        text[place] = 'b';
        sum += (uint32_t)(find(text, text + sizeof text, 'b') - text);
        text[place] = 'a';
    }
    return sum;
}

ALONE static uint32_t count_of(uint8_t byte)
{
    uint32_t count = 0;
    for (size_t i = 0; i < sizeof bytes; i++)
        count += bytes[i] == byte;
    return count;
}
static uint32_t count_bytes(void)
{
    uint32_t sum = 0;
    for (int r = 0; r < 12000; r++)
        sum += count_of((uint8_t)r) * (uint32_t)(r + 1);
    return sum;
}

// Bits of bytes by a table of nibbles, summed.
static uint32_t population(void)
{
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3,
                                           1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(15);
    uint32_t result = 0;
    for (int r = 0; r < 60000; r++) {
        __m256i sum = _mm256_setzero_si256();
        for (size_t i = 0; i < sizeof bytes; i += 32) {
            __m256i x = _mm256_load_si256((const __m256i *)(bytes + i));
            __m256i bits = _mm256_add_epi8(
                _mm256_shuffle_epi8(table, _mm256_and_si256(x, low)),
                _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), low)));
            sum = _mm256_add_epi64(sum, _mm256_sad_epu8(bits, _mm256_setzero_si256()));
        }
        result += (uint32_t)(_mm256_extract_epi64(sum, 0) + _mm256_extract_epi64(sum, 1) +
                             _mm256_extract_epi64(sum, 2) + _mm256_extract_epi64(sum, 3)) + (uint32_t)r;
    }
    return result;
}

// What each gives on a processor.
static const struct {
    const char *name;
    uint32_t (*run)(void);
    uint32_t expected;
} programs[] = {
    {"saxpy_f32", saxpy_f32, 0x31cb5c16}, {"saxpy_f32_fma", saxpy_f32_fma, 0x7b8a5232},
    {"saxpy_f64", saxpy_f64, 0x1db7f023}, {"saxpy_f64_fma", saxpy_f64_fma, 0xfaa45616},
    {"matmul_f64_256", matmul_f64, 0x58fa20da}, {"mandelbrot_f32", mandelbrot_f32, 0xdb942c27},
    {"sum_i32", sum_i32, 0xafd80000}, {"max_i32", max_i32, 0xf4c0c0c0}, {"find_byte", find_byte, 0x7f15b8d0},
    {"count_bytes", count_bytes, 0x4aca113a}, {"population", population, 0x14a5a830},
};

static double wall(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static double cpu(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    int wrong = 0;
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        int wanted = 0;
        for (int a = 1; a < argc; a++)
            wanted |= !strcmp(argv[a], programs[i].name);
        if (!wanted)
            continue;
        if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
            puts("vectorbench: the processor has no AVX2 and FMA");
            return 2;
        }
        fill();
        double w = wall(), c = cpu();
        uint32_t result = programs[i].run();
        int ok = result == programs[i].expected;
        printf("%s %s %.4f %.4f", ok ? "BENCH" : "WRONG", programs[i].name, wall() - w, cpu() - c);
        if (!ok)
            printf(" %#x", result);
        puts("");
        fflush(stdout);
        wrong += !ok;
    }
    return wrong != 0;
}
