/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What becomes of SCTP's checksum when its ports change (RFC 9260, appendix A).
 *
 * - A CRC is linear: the sum after a change is the sum before, exclusive or the bare CRC of the difference, which is zeros from the ports
 *   to the packet's end. In the arithmetic of polynomials modulo P, bits mirrored: difference · x^(8 · length).
 * - Nothing here branches on the packet: a verifier would follow both ways of each of 512 steps.
 */
#pragma once

#include "packet.h"

#define CRC32C_POLYNOMIAL 0x82f63b78
#define CRC32C_ONE 0x80000000 /* x^0 */
#define CRC32C_LENGTH_BITS 16

/* x^(8 · 2^i) */
static const __u32 crc32c_zeros[CRC32C_LENGTH_BITS] = {
	0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c, 0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7,
	0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a, 0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc,
};

/* All bits, or none; the compiler is kept from making a branch of it. */
inline_fn __u32 mask_of(__u32 bit)
{
	__u32 mask = -bit;

	asm volatile("" : "+r"(mask));
	return mask;
}

inline_fn __u32 crc32c_multiply(__u32 a, __u32 b)
{
	__u32 product = 0;

	for (int i = 0; i < 32; i++) {
		product ^= b & mask_of(a >> 31);
		a <<= 1;
		b = b >> 1 ^ (CRC32C_POLYNOMIAL & mask_of(b & 1));
	}
	return product;
}

/*
 * Of a word that differs by `difference`, as it lies in memory, `length` bytes before the end of what is summed. Not static: the verifier
 * then walks it once, not at each call on each way that leads there.
 */
__attribute__((noinline)) __u32 crc32c_difference(__le32 difference, __u32 length)
{
	for (__u32 i = 0; i < CRC32C_LENGTH_BITS; i++) {
		__u32 factor = CRC32C_ONE ^ ((CRC32C_ONE ^ crc32c_zeros[i]) & mask_of(length >> i & 1));

		difference = crc32c_multiply(difference, factor);
	}
	return difference;
}
