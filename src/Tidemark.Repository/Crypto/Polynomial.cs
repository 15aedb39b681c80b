using System.Security.Cryptography;

namespace Tidemark.Repository.Crypto;

// restic cuts files with a rolling hash over an irreducible polynomial of degree 53 over GF(2), which each repository
// has for itself in its config (doc/design.rst, "Backups and Deduplication"). Disks are cut at fixed offsets and need
// none, but restic refuses a config without a valid one, and uses it when it backs up into our repository.
//
// A polynomial is a number whose bit i is the coefficient of x^i. It is irreducible exactly when it has no common
// factor with x^(2^i) - x for every i up to half its degree (Ben-Or's test).

/// <summary>Makes and checks the chunker's polynomial.</summary>
internal static class Polynomial
{
    internal const int Degree = 53;

    /// <summary>A random irreducible polynomial of degree 53.</summary>
    internal static ulong Generate()
    {
        while (true)
        {
            // One candidate in about 26 fits; the constant term must be 1, or x would divide it.
            var bits = BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(8));
            var candidate = (bits & ((1UL << Degree) - 1)) | (1UL << Degree) | 1;
            if (IsIrreducible(candidate))
            {
                return candidate;
            }
        }
    }

    /// <summary>Whether no polynomial of a lower degree, but 1, divides it.</summary>
    internal static bool IsIrreducible(ulong polynomial)
    {
        var power = 2UL; // x
        for (var i = 1; i <= DegreeOf(polynomial) / 2; i++)
        {
            power = MultiplyModulo(power, power, polynomial);
            if (CommonDivisor(polynomial, power ^ 2UL) != 1)
            {
                return false;
            }
        }

        return DegreeOf(polynomial) > 0;
    }

    private static int DegreeOf(ulong polynomial) => 63 - int.CreateChecked(ulong.LeadingZeroCount(polynomial));

    private static ulong MultiplyModulo(ulong left, ulong right, ulong modulus)
    {
        var top = 1UL << DegreeOf(modulus);
        ulong product = 0;
        for (; right != 0; right >>= 1)
        {
            product ^= (right & 1) != 0 ? left : 0;
            left <<= 1;
            left ^= (left & top) != 0 ? modulus : 0;
        }

        return product;
    }

    private static ulong CommonDivisor(ulong left, ulong right)
    {
        while (right != 0)
        {
            while (left != 0 && DegreeOf(left) >= DegreeOf(right))
            {
                left ^= right << (DegreeOf(left) - DegreeOf(right));
            }

            (left, right) = (right, left);
        }

        return left;
    }
}
