using Tidemark.Images.Creating;
using Tidemark.Images.Output;
using Xunit;

namespace Tidemark.Images.Tests.Output;

public sealed class OutputTests
{
    [Fact]
    public void Members_come_in_the_order_of_QEMUs_hash_table()
    {
        var dict = new OutputDict()
            .Add("format", "qcow2").Add("filename", "a").Add("virtual-size", 1L).Add("dirty-flag", false)
            .Add("cluster-size", 512).Add("nothing", null).Add("children", new List<object>())
            .Add("format-specific", new OutputDict());
        Assert.Equal(
            """
            {
                "children": [
                ],
                "virtual-size": 1,
                "filename": "a",
                "cluster-size": 512,
                "format": "qcow2",
                "format-specific": {
                },
                "dirty-flag": false
            }
            """,
            JsonText.Format(dict));
    }

    [Fact]
    public void Strings_are_escaped_as_QEMU_does() =>
        Assert.Equal(
            "\"a\\\"\\\\\\n\\u0001\\u00FC\\uD83D\\uDE00\\u007F/\"", JsonText.Format("a\"\\\n\u0001ü😀\u007f/"));

    [Theory]
    [InlineData(0, "0 B")]
    [InlineData(999, "999 B")]
    [InlineData(1000, "0.977 KiB")]
    [InlineData(1048576, "1 MiB")]
    [InlineData(200704, "196 KiB")]
    [InlineData(1288490188, "1.2 GiB")]
    [InlineData(long.MaxValue, "8 EiB")]
    public void Sizes_are_shown_with_three_digits(long bytes, string expected) =>
        Assert.Equal(expected, SizeText.Format(bytes));

    [Theory]
    [InlineData("0", 0L)]
    [InlineData("1k", 1024L)]
    [InlineData("1.5G", 1610612736L)]
    [InlineData("0x200", 512L)]
    [InlineData("7E", 8070450532247928832)]
    [InlineData("512b", 512L)]
    [InlineData("8E", null)]
    [InlineData("-1", null)]
    [InlineData("1.5", null)]
    [InlineData("1x", null)]
    [InlineData("", null)]
    [InlineData("k", null)]
    public void Sizes_are_read_with_binary_units(string text, long? expected)
    {
        Assert.Equal(expected is not null, SizeText.TryParse(text, out var bytes));
        Assert.Equal(expected ?? bytes, bytes);
    }

    [Fact]
    public void Options_keep_commas_that_are_doubled()
    {
        var options = CreateOptions.Parse("qcow2", ["backing_file=a,,b,size=1M", "lazy_refcounts"], "x");
        Assert.Equal(("a,b", 1L << 20, true), (options.BackingFile, options.Length, options.LazyRefcounts));
    }

    [Theory]
    [InlineData("raw", "cluster_size=1k", "cluster_size")]
    [InlineData("qcow2", "encryption=on", "encrypt")]
    [InlineData("qcow2", "compat=2", "Invalid compatibility level")]
    [InlineData("qcow2", "compression_type=lzo", "zlib or zstd")]
    [InlineData("qcow2", "lazy_refcounts=maybe", "'on' or 'off'")]
    [InlineData("vdi", "", "Unknown driver 'vdi'")]
    public void What_is_no_option_is_refused(string format, string text, string expected)
    {
        var error = Assert.Throws<ImageException>(() => CreateOptions.Parse(format, [text], "x"));
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }
}
