/* Writes problem.npz: a network, a batch, and the gradient that the backward pass below computes.

       cc -o write_problem write_problem.c && ./write_problem && fastbp check problem.npz

   An .npz is a zip archive whose members, here not compressed, are arrays: a header of text, then
   the numbers, little-endian, row by row. */

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { INPUTS = 2, HIDDEN = 3, BATCH = 4, NPY_HEADER = 128, MOST_MEMBERS = 32 };

/* ---- .npz ---- */

static struct { char name[32]; uint32_t crc, size, offset; } members[MOST_MEMBERS];
static int count = 0;

static uint32_t crc32(uint32_t crc, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

static void put(FILE *file, uint32_t value, int bytes)
{
    for (; bytes > 0; bytes--, value >>= 8)
        fputc(value & 255, file);
}

/* What the entry before a member and the entry in the directory have in common. */
static void put_entry(FILE *file, int member)
{
    put(file, 20, 2);                                 /* version 2.0 of the format */
    put(file, 0, 4);                                  /* no flags, not compressed */
    put(file, 0x00210000, 4);                         /* 1 January 1980 */
    put(file, members[member].crc, 4);
    put(file, members[member].size, 4);
    put(file, members[member].size, 4);
    put(file, (uint32_t)strlen(members[member].name), 2);
    put(file, 0, 2);
}

/* descr: "<f8" doubles, "<f4" floats, "<i8" int64_t, "|S5" five bytes of text.
   shape: as Python writes it: "(3, 2)", "(3,)", "()". */
static void put_array(FILE *file, const char *key, const char *descr, const char *shape,
                      const void *data, size_t size)
{
    char header[NPY_HEADER + 1];
    memcpy(header, "\x93NUMPY\x01\x00\x76\x00", 10);  /* version 1.0; 118 bytes follow */
    int end = 10 + snprintf(header + 10, NPY_HEADER - 10,
                            "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", descr, shape);
    memset(header + end, ' ', NPY_HEADER - end);
    header[NPY_HEADER - 1] = '\n';

    snprintf(members[count].name, sizeof members[count].name, "%s.npy", key);
    members[count].crc = crc32(crc32(0, header, NPY_HEADER), data, size);
    members[count].size = (uint32_t)(NPY_HEADER + size);
    members[count].offset = (uint32_t)ftell(file);
    put(file, 0x04034b50, 4);
    put_entry(file, count);
    fputs(members[count].name, file);
    fwrite(header, 1, NPY_HEADER, file);
    fwrite(data, 1, size, file);
    count++;
}

static void put_directory(FILE *file)
{
    uint32_t start = (uint32_t)ftell(file);
    for (int member = 0; member < count; member++) {
        put(file, 0x02014b50, 4);
        put(file, 20, 2);
        put_entry(file, member);
        put(file, 0, 4); put(file, 0, 2); put(file, 0, 4);
        put(file, members[member].offset, 4);
        fputs(members[member].name, file);
    }
    uint32_t size = (uint32_t)ftell(file) - start;
    put(file, 0x06054b50, 4);
    put(file, 0, 4);
    put(file, (uint32_t)count, 2); put(file, (uint32_t)count, 2);
    put(file, size, 4); put(file, start, 4);
    put(file, 0, 2);
}

/* ---- the gradient to be checked ---- */

static double w0[HIDDEN][INPUTS] = {{0.5, -1.0}, {1.5, 0.25}, {-0.75, 2.0}};
static double b0[HIDDEN] = {0.1, -0.2, 0.3}, w1[1][HIDDEN] = {{1.0, -2.0, 0.5}}, b1[1] = {0.4};
static double x[BATCH][INPUTS] = {{1.0, 2.0}, {-1.0, 0.5}, {3.0, -1.0}, {0.25, 1.0}};
static double y[BATCH][1] = {{1.0}, {0.0}, {-1.0}, {2.0}};
static double dw0[HIDDEN][INPUTS], db0[HIDDEN], dw1[1][HIDDEN], db1[1];

/* The sum over the batch of (output - y)^2, by all weights and biases. */
static void backward(void)
{
    for (int n = 0; n < BATCH; n++) {
        double f[HIDDEN], output = b1[0];
        for (int j = 0; j < HIDDEN; j++) {
            f[j] = b0[j];
            for (int i = 0; i < INPUTS; i++)
                f[j] += w0[j][i] * x[n][i];
            output += w1[0][j] * (f[j] > 0 ? f[j] : 0);
        }
        double s = 2 * (output - y[n][0]);
        db1[0] += s;
        for (int j = 0; j < HIDDEN; j++) {
            dw1[0][j] += s * (f[j] > 0 ? f[j] : 0);
            double below = f[j] > 0 ? s * w1[0][j] : 0;
            db0[j] += below;
            for (int i = 0; i < INPUTS; i++)
                dw0[j][i] += below * x[n][i];
        }
    }
}

int main(void)
{
    backward();
    FILE *file = fopen("problem.npz", "wb");
    if (!file)
        return perror("problem.npz"), 1;
    put_array(file, "layout", "|S5", "()", "torch", 5);  /* rows of x are examples */
    put_array(file, "weights_0", "<f8", "(3, 2)", w0, sizeof w0);
    put_array(file, "weights_1", "<f8", "(1, 3)", w1, sizeof w1);
    put_array(file, "biases_0", "<f8", "(3,)", b0, sizeof b0);
    put_array(file, "biases_1", "<f8", "(1,)", b1, sizeof b1);
    put_array(file, "x", "<f8", "(4, 2)", x, sizeof x);
    put_array(file, "y", "<f8", "(4, 1)", y, sizeof y);
    put_array(file, "dweights_0", "<f8", "(3, 2)", dw0, sizeof dw0);
    put_array(file, "dweights_1", "<f8", "(1, 3)", dw1, sizeof dw1);
    put_array(file, "dbiases_0", "<f8", "(3,)", db0, sizeof db0);
    put_array(file, "dbiases_1", "<f8", "(1,)", db1, sizeof db1);
    put_directory(file);
    if (ferror(file) | fclose(file))
        return perror("problem.npz"), 1;
    return 0;
}
