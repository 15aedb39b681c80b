using Tidemark.Repository.Crypto;
using Xunit;

namespace Tidemark.Repository.Tests.Crypto;

public sealed class PolynomialTests
{
    [Theory]
    [InlineData(0b10UL, true)] // x
    [InlineData(0b11UL, true)] // x + 1
    [InlineData(0b111UL, true)] // x^2 + x + 1
    [InlineData(0b101UL, false)] // (x + 1)^2
    [InlineData(0b1011UL, true)]
    [InlineData(0b10011UL, true)]
    [InlineData(0b10101UL, false)] // (x^2 + x + 1)^2
    [InlineData(0x11BUL, true)] // the one of AES
    [InlineData(0x25b468838dcb75UL, true)] // the example of restic's design document
    [InlineData(0x25b468838dcb74UL, false)]
    public void Irreducible_polynomials_are_told_from_the_others(ulong polynomial, bool irreducible) =>
        Assert.Equal(irreducible, Polynomial.IsIrreducible(polynomial));

    [Fact]
    public void Trial_division_agrees_up_to_degree_ten()
    {
        for (var polynomial = 2UL; polynomial < 1 << 11; polynomial++)
        {
            var divides = false;
            for (var divisor = 2UL; divisor < polynomial && !divides; divisor++)
            {
                divides = Remainder(polynomial, divisor) == 0;
            }

            Assert.Equal(!divides, Polynomial.IsIrreducible(polynomial));
        }
    }

    [Fact]
    public void New_ones_are_of_degree_53_and_irreducible()
    {
        var polynomial = Polynomial.Generate();
        Assert.Equal(53, 63 - System.Numerics.BitOperations.LeadingZeroCount(polynomial));
        Assert.True(Polynomial.IsIrreducible(polynomial));
    }

    private static ulong Remainder(ulong left, ulong right)
    {
        while (Degree(left) >= Degree(right))
        {
            left ^= right << (Degree(left) - Degree(right));
        }

        return left;
    }

    private static int Degree(ulong value) => 63 - System.Numerics.BitOperations.LeadingZeroCount(value);
}
