using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Tests.Terminal;

public sealed class ByteSizeTests
{
    [Theory]
    [InlineData(0, "0 B")]
    [InlineData(999, "999 B")]
    [InlineData(1000, "1.0 KiB")]
    [InlineData(1024, "1.0 KiB")]
    [InlineData(1536, "1.5 KiB")]
    [InlineData(312L << 20, "312 MiB")]
    [InlineData(1L << 30, "1.0 GiB")]
    [InlineData((1L << 30) - 1, "1.0 GiB")]
    [InlineData(long.MaxValue, "8.0 EiB")]
    public void Format_shows_three_digits_and_a_binary_unit(long bytes, string text) =>
        Assert.Equal(text, ByteSize.Format(bytes));

    [Theory]
    [InlineData("0", 0)]
    [InlineData("512", 512)]
    [InlineData("512B", 512)]
    [InlineData("64K", 64 << 10)]
    [InlineData("64k", 64 << 10)]
    [InlineData("64 KiB", 64 << 10)]
    [InlineData("1.5M", 3 << 19)]
    [InlineData("1G", 1L << 30)]
    [InlineData("1GiB", 1L << 30)]
    [InlineData("2T", 2L << 40)]
    [InlineData("7E", 7L << 60)]
    public void TryParse_reads_binary_units(string text, long bytes)
    {
        Assert.True(ByteSize.TryParse(text, out var found));
        Assert.Equal(bytes, found);
    }

    [Theory]
    [InlineData("")]
    [InlineData("K")]
    [InlineData("-1")]
    [InlineData("1GB")]
    [InlineData("1iB")]
    [InlineData("0.3")]
    [InlineData("0.0001K")]
    [InlineData("8E")]
    [InlineData("99999999999999999999999999999999")]
    [InlineData("ten")]
    public void TryParse_refuses_what_is_no_whole_number_of_bytes(string text) =>
        Assert.False(ByteSize.TryParse(text, out _));
}
