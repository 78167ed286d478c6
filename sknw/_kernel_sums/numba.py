"""What the compiled loops share: the decorator, vector width, and an exponential that the compiler can vectorise.

Fast-math. Only accumulations may reorder sums. The exponential rounds by adding and subtracting a large number, which
reordering would cancel; it uses explicit multiply-adds instead.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.extending import intrinsic, overload
from numpy.polynomial.chebyshev import Chebyshev

MULTIPLY_ADD = frozenset({"contract", "nnan", "nsz"})
REORDERED = MULTIPLY_ADD | {"reassoc"}


def _polynomial(function, degree, first, last, number=float):
    """The coefficients of x^k of a function on an interval, by interpolation at Chebyshev points."""
    interpolant = Chebyshev.interpolate(function, degree, domain=[first, last])
    return tuple(number(c) for c in interpolant.convert(kind=np.polynomial.Polynomial).coef)


# sin(pi v / 2) / v as a polynomial in v^2 on [0, 1], relative error about 1e-16
SINE = _polynomial(lambda x: np.pi / 2 * np.sinc(np.sqrt(x) / 2), 9, 0.0, 1.0)

# Private in numba, and hence imported here alone: a copy of a tuple with one of its items replaced.
with_item = tuple_setitem


def compiled(fastmath=frozenset()):
    """`njit` without the GIL, of what Python calls: cached on disk where there is a place to write to.

    What the loops pass on to others begins as np.int64(0), not 0, for which the others would be compiled once more.
    """
    options = _options(fastmath)

    def decorate(function):
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            return njit(**options)(function)  # numba found no directory for its cache

    return decorate


# Functions that `has_compiled` has found to be compiled.
_compiled_ones: set = set()


def has_compiled(function):
    """Whether a function from `compiled` has been compiled, for any types, by this process or by an earlier one.

    Of other processes those count that did so before this one first asks.
    """
    if function not in _compiled_ones and (_was_compiled_before(function) or function.signatures):
        _compiled_ones.add(function)
    return function in _compiled_ones


@cache
def _was_compiled_before(function):
    """Whether numba's cache on disk holds a function. Looked up once, as that takes as long as a small sum."""
    folder = function.stats.cache_path
    return folder is not None and any(Path(folder).glob(f"*.{function.__name__}-*.nbi"))


def inner(fastmath=frozenset(), in_place=False):
    """`njit` of what only compiled code calls; `in_place`, the code itself takes the place of the call.

    LLVM optimises a function again with each that calls it, so that every level of calls adds to the time of compiling.
    """
    return njit(no_cpython_wrapper=True, inline="always" if in_place else "never", **_options(fastmath))


def _options(fastmath):
    return {"nogil": True, "error_model": "numpy", "fastmath": set(fastmath), "no_cfunc_wrapper": True}


@intrinsic
def wide_vectors(typingctx):
    """Let the calling function use the widest vectors there are; LLVM would stop at 256 bits on AVX-512 machines."""

    def codegen(context, builder, signature, args):
        # llvmlite knows only the attributes that are single words, hence the set's own add
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def without_nan(typingctx):
    """Promise that no number of the calling function is NaN: the least of many is then found in vectors."""

    def codegen(context, builder, signature, args):
        for attribute in ('"no-nans-fp-math"="true"', '"no-signed-zeros-fp-math"="true"'):
            set.add(builder.function.attributes, attribute)
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def disjoint_arrays(typingctx):
    """Promise that no array given to the calling function overlaps another one that it writes to.

    Else the compiler tests at every call whether arrays overlap, and where these are many it uses no vectors at all.
    """

    def codegen(context, builder, signature, args):
        for arg in builder.function.args:
            if isinstance(arg.type, ir.PointerType) and isinstance(arg.type.pointee, ir.FloatType | ir.DoubleType):
                arg.add_attribute("noalias")
        return context.get_dummy_value()

    return types.void(), codegen


def _extreme(comparison):
    @intrinsic
    def extreme(typingctx, a, b):
        number = typingctx.unify_types(a, b)

        def codegen(context, builder, signature, args):
            a, b = (context.cast(builder, x, of, number) for x, of in zip(args, signature.args, strict=True))
            compare = builder.fcmp_ordered if isinstance(number, types.Float) else builder.icmp_signed
            return builder.select(compare(comparison, b, a), b, a)

        return number(a, b), codegen

    return extreme


# Of two numbers, as Python's own, which numba would compile as functions, for each pair of types and fast-math flags.
min, max = _extreme("<"), _extreme(">")


@intrinsic
def _fma(typingctx, a, b, c):
    """a * b + c, rounded once where the processor can."""

    def codegen(context, builder, signature, args):
        floating = args[0].type
        signature = ir.FunctionType(floating, [floating] * 3)
        fmuladd = builder.module.declare_intrinsic("llvm.fmuladd", [floating], signature)
        return builder.call(fmuladd, args)

    return a(a, a, a), codegen


@intrinsic
def _times_power_of_two(typingctx, p, shifted):
    """p * 2^k, k the integer in the lowest bits of ``shifted = k + 1.5 * 2^(bits of the mantissa)``."""

    def codegen(context, builder, signature, args):
        floating = args[0].type
        width, mantissa = (64, 52) if isinstance(floating, ir.DoubleType) else (32, 23)
        integer = ir.IntType(width)
        bits, k = builder.bitcast(args[0], integer), builder.bitcast(args[1], integer)
        exponent = builder.shl(k, ir.Constant(integer, mantissa))
        return builder.bitcast(builder.add(bits, exponent), floating)

    return p(p, p), codegen


# 2^r = sum_k c_k r^k on [-1/2, 1/2]. The relative error of a weight is 3e-16 in float64 and 2e-7 in float32. Most of it
# cancels in the ratio of two sums.
_C64, _C32 = _polynomial(np.exp2, 10, -0.5, 0.5), _polynomial(np.exp2, 5, -0.5, 0.5, np.float32)
_ROUNDER64, _ROUNDER32 = 1.5 * 2.0**52, np.float32(1.5 * 2.0**23)
# The smallest results are 2^-960 and 2^-100: so far above the subnormal numbers, which processors are slow at, that
# their products with small values are too.
SMALLEST_EXPONENT = {np.float64: -960.0, np.float32: np.float32(-100.0)}


def exp2(a, rate):
    """2^(a rate) for exponents between `SMALLEST_EXPONENT` and 0 or a little above."""


@overload(exp2, inline="never", jit_options={"fastmath": set()})
def _exp2_of_type(a, rate):
    if a == types.float64:
        c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10 = _C64

        def of_float(a, rate):
            shifted = _fma(a, rate, _ROUNDER64)
            r = _fma(a, rate, -(shifted - _ROUNDER64))
            p = _fma(_fma(_fma(c10, r, c9), r, c8), r, c7)
            p = _fma(_fma(_fma(_fma(p, r, c6), r, c5), r, c4), r, c3)
            return _times_power_of_two(_fma(_fma(_fma(p, r, c2), r, c1), r, c0), shifted)

    else:
        b0, b1, b2, b3, b4, b5 = _C32

        def of_float(a, rate):
            shifted = _fma(a, rate, _ROUNDER32)
            r = _fma(a, rate, -(shifted - _ROUNDER32))
            p = _fma(_fma(b5, r, b4), r, b3)
            return _times_power_of_two(_fma(_fma(_fma(p, r, b2), r, b1), r, b0), shifted)

    return of_float


@intrinsic
def _significand(typingctx, x):
    """x / 2^k, between sqrt(1 / 2) and sqrt(2), of a positive normal float64."""

    def codegen(context, builder, signature, args):
        bits = builder.bitcast(args[0], _INTEGER)
        exponent = builder.and_(builder.add(bits, ir.Constant(_INTEGER, _TO_ONE)), ir.Constant(_INTEGER, 0x7FF << 52))
        bits = builder.add(builder.sub(bits, exponent), ir.Constant(_INTEGER, 1023 << 52))
        return builder.bitcast(bits, ir.DoubleType())

    return types.float64(types.float64), codegen


@intrinsic
def _shifted_exponent(typingctx, x):
    """k + 1023 + 2^52 of x = 2^k times its significand."""

    def codegen(context, builder, signature, args):
        bits = builder.add(builder.bitcast(args[0], _INTEGER), ir.Constant(_INTEGER, _TO_ONE))
        exponent = builder.lshr(bits, ir.Constant(_INTEGER, 52))
        return builder.bitcast(builder.or_(exponent, ir.Constant(_INTEGER, 1075 << 52)), ir.DoubleType())

    return types.float64(types.float64), codegen


_INTEGER = ir.IntType(64)
# from the bits of sqrt(1 / 2) to those of 1
_TO_ONE = 0x3FF0000000000000 - 0x3FE6A09E667F3BCD
# log2((1 + s) / (1 - s)) / s as a polynomial in s^2, |s| <= (sqrt(2) - 1) / (sqrt(2) + 1), relative error 1e-16
_LOG = _polynomial(lambda v: 2 / np.log(2) * np.arctanh(np.sqrt(v)) / np.sqrt(v), 7, 0.0, (3 - 2 * np.sqrt(2)) ** 2)


def log2(x):
    """The logarithm of a positive normal float64 to the base 2."""


@overload(log2, inline="never", jit_options={"fastmath": set()})
def _log2_of_float(x):
    c0, c1, c2, c3, c4, c5, c6, c7 = _LOG

    def of_float(x):
        m = _significand(x)
        s = (m - 1.0) / (m + 1.0)
        v = s * s
        p = _fma(_fma(_fma(_fma(c7, v, c6), v, c5), v, c4), v, c3)
        return _fma(_fma(_fma(_fma(p, v, c2), v, c1), v, c0), s, _shifted_exponent(x) - 4503599627371519.0)

    return of_float
