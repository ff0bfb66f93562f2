"""The words in which OpenCL C and CUDA C++ differ, as preambles of macros and small functions.

Below a preamble both languages are one: fixed-width types `i8` ... `u64`, `f32`, `f64`; `KERNEL(entry,
lanes)`; `PARAM(T, p)` in the list of parameters and `OPEN(T, p)` at the head of the body; `GROUP` and `LANE`,
the numbers of a group and of a work item in it; `SHARED` memory of a group, and `BARRIER`; `as_u32`, `as_f32`
and the like, which keep bits; `load_f16`, `store_f16`, `round_f16` and the same of `bf16`, since 16-bit
floats are computed in `f32`.
"""

from __future__ import annotations

COMMON = """\
INLINE f32 load_bf16(GLOBAL const u16* p, i64 i) { return as_f32((u32)p[i] << 16); }
INLINE u16 narrow_bf16(f32 x) {
  u32 bits = as_u32(x);
  if (x != x) return (u16)((bits >> 16) | 64u);
  return (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
INLINE f32 widen_bf16(u16 bits) { return as_f32((u32)bits << 16); }
INLINE f32 round_bf16(f32 x) { return widen_bf16(narrow_bf16(x)); }
INLINE void store_bf16(GLOBAL u16* p, i64 i, f32 x) { p[i] = narrow_bf16(x); }
INLINE i32 i32_f32(f32 x) { return x >= -2147483648.0f && x < 2147483648.0f ? (i32)x : (i32)0x80000000u; }
INLINE i64 i64_f32(f32 x) {
  return x >= -9223372036854775808.0f && x < 9223372036854775808.0f ? (i64)x : (i64)0x8000000000000000ul;
}
INLINE u64 u64_f32(f32 x) {
  return x >= 9223372036854775808.0f ? (u64)i64_f32(x - 9223372036854775808.0f) ^ 0x8000000000000000ul
                                     : (u64)i64_f32(x);
}
"""

DOUBLE = """\
INLINE i32 i32_f64(f64 x) { return x > -2147483649.0 && x < 2147483648.0 ? (i32)x : (i32)0x80000000u; }
INLINE i64 i64_f64(f64 x) {
  return x >= -9223372036854775808.0 && x < 9223372036854775808.0 ? (i64)x : (i64)0x8000000000000000ul;
}
INLINE u64 u64_f64(f64 x) {
  return x >= 9223372036854775808.0 ? (u64)i64_f64(x - 9223372036854775808.0) ^ 0x8000000000000000ul
                                    : (u64)i64_f64(x);
}
"""

OPENCL = """\
typedef char i8; typedef short i16; typedef int i32; typedef long i64;
typedef uchar u8; typedef ushort u16; typedef uint u32; typedef ulong u64;
typedef float f32;
#define KERNEL(entry, lanes) __kernel __attribute__((reqd_work_group_size(lanes, 1, 1))) void entry
#define GLOBAL __global
#define SHARED __local __attribute__((aligned(16)))
#define INLINE static inline
#define UNROLL _Pragma("unroll")
#define PARAM(T, p) __global T* p##_base, const i64 p##_start
#define OPEN(T, p) __global T* p = p##_base + p##_start;
#define GROUP ((i64)get_group_id(0))
#define LANE ((i32)get_local_id(0))
#define BARRIER barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)
#define as_u32 as_uint
#define as_i32 as_int
#define as_u64 as_ulong
#define as_i64 as_long
#define as_f32 as_float
INLINE f32 load_f16(GLOBAL const u16* p, i64 i) { return vload_half(i, (GLOBAL const half*)p); }
INLINE void store_f16(GLOBAL u16* p, i64 i, f32 x) { vstore_half_rte(x, i, (GLOBAL half*)p); }
INLINE u16 narrow_f16(f32 x) {
  union { u16 bits; u8 bytes[2]; } word;
  vstore_half_rte(x, 0, (half*)word.bytes);
  return word.bits;
}
INLINE f32 widen_f16(u16 bits) {
  union { u16 bits; u8 bytes[2]; } word;
  word.bits = bits;
  return vload_half(0, (const half*)word.bytes);
}
INLINE f32 round_f16(f32 x) { return widen_f16(narrow_f16(x)); }
"""

OPENCL_DOUBLE = """\
typedef double f64;
#define as_f64 as_double
"""

CUDA = """\
typedef signed char i8; typedef short i16; typedef int i32; typedef long long i64;
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef unsigned long long u64;
typedef float f32; typedef double f64;
#define KERNEL(entry, lanes) extern "C" __global__ void __launch_bounds__(lanes) entry
#define GLOBAL
#define SHARED __shared__ __align__(16)
#define INLINE static __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#define PARAM(T, p) T* p
#define OPEN(T, p)
#define GROUP ((i64)blockIdx.x)
#define LANE ((i32)threadIdx.x)
#define BARRIER __syncthreads()
INLINE u32 as_u32(f32 x) { return __float_as_uint(x); }
INLINE i32 as_i32(f32 x) { return __float_as_int(x); }
INLINE f32 as_f32(u32 x) { return __uint_as_float(x); }
INLINE u64 as_u64(f64 x) { return (u64)__double_as_longlong(x); }
INLINE i64 as_i64(f64 x) { return __double_as_longlong(x); }
INLINE f64 as_f64(u64 x) { return __longlong_as_double((i64)x); }
INLINE u16 narrow_f16(f32 x) { u16 r; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(x)); return r; }
INLINE f32 widen_f16(u16 x) { f32 r; asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(x)); return r; }
INLINE f32 load_f16(const u16* p, i64 i) { return widen_f16(p[i]); }
INLINE void store_f16(u16* p, i64 i, f32 x) { p[i] = narrow_f16(x); }
INLINE f32 round_f16(f32 x) { return widen_f16(narrow_f16(x)); }
"""


def opencl(double: bool) -> str:
    """The preamble for a device that computes in float64, or does not."""
    head = "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n" if double else ""
    return head + OPENCL + (OPENCL_DOUBLE if double else "") + COMMON + (DOUBLE if double else "")


def cuda() -> str:
    """The preamble for NVRTC."""
    return CUDA + COMMON + DOUBLE
