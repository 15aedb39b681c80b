using System.Text.Json;
using Xunit;

namespace Tidemark.Qmp.Tests;

public sealed class QmpArgumentsTests
{
    [Fact]
    public void What_is_read_is_returned_and_nothing_is_left()
    {
        var arguments = Json("""{"s":"a","b":true,"n":-5,"z":9007199254740993,"o":{"x":"y"},"l":["a",{"n":"b"}]}""");
        Assert.Equal("a", arguments.GetString("s"));
        Assert.True(arguments.FindBoolean("b"));
        Assert.Equal(-5, arguments.GetInteger("n"));
        Assert.Equal(9007199254740993, arguments.GetSize("z"));
        Assert.Equal("y", arguments.GetObject("o").GetString("x"));
        var list = arguments.FindStringsOrObjects("l")!;
        Assert.Equal("a", list[0].Text);
        Assert.Equal("b", list[1].Object!.GetString("n"));
        Assert.Null(arguments.FindString("missing"));
        arguments.CheckNothingLeft();
    }

    [Fact]
    public void What_nobody_asked_for_is_named_with_its_path()
    {
        var arguments = Json("""{"actions":[{"data":{"q":1}}]}""");
        arguments.GetObjects("actions")[0].GetObject("data");
        Assert.Equal(
            "Parameter 'actions[0].data.q' is unexpected",
            Assert.Throws<QmpException>(arguments.CheckNothingLeft).Description);
    }

    [Fact]
    public void Errors_are_QEMUs()
    {
        var arguments = Json("""{"a":{"s":5,"b":1,"z":-1,"o":[],"l":{} }}""").GetObject("a");
        Refused("Invalid parameter type for 'a.s', expected: string", () => arguments.GetString("s"));
        Refused("Invalid parameter type for 'a.b', expected: boolean", () => arguments.FindBoolean("b"));
        Refused("Parameter 'a.z' expects uint64", () => arguments.GetSize("z"));
        Refused("Invalid parameter type for 'a.o', expected: object", () => arguments.GetObject("o"));
        Refused("Invalid parameter type for 'a.l', expected: array", () => arguments.GetObjects("l"));
        Refused("Parameter 'a.m' is missing", () => arguments.GetString("m"));
        Refused("Parameter 'a.s' is not supported", () => arguments.RefuseUnsupported("x", "s"));
    }

    [Theory]
    [InlineData("5", 5)]
    [InlineData("5b", 5)]
    [InlineData("2K", 2048)]
    [InlineData("1t", 1L << 40)]
    [InlineData("7E", 7L << 60)]
    public void A_command_lines_sizes_have_suffixes(string text, long expected) =>
        Assert.Equal(expected, Text(text).GetSize("v"));

    [Theory]
    [InlineData("")]
    [InlineData("8E")]
    [InlineData("-1")]
    [InlineData("1.5K")]
    [InlineData("5q")]
    [InlineData("K")]
    public void Other_sizes_are_refused(string text) =>
        Refused("Parameter 'v' expects size", () => Text(text).GetSize("v"));

    [Fact]
    public void A_command_lines_booleans_are_on_and_off()
    {
        Assert.True(Text("on").FindBoolean("v"));
        Assert.False(Text("off").FindBoolean("v"));
        Refused("Parameter 'v' expects 'on' or 'off'", () => Text("1").FindBoolean("v"));
    }

    private static QmpArguments Json(string text) => QmpArguments.FromJson(JsonDocument.Parse(text).RootElement);

    private static QmpArguments Text(string value) =>
        QmpArguments.FromText(JsonDocument.Parse($$"""{"v":"{{value}}"}""").RootElement);

    private static void Refused(string expected, Action action) =>
        Assert.Equal(expected, Assert.Throws<QmpException>(action).Description);

    private static void Refused<T>(string expected, Func<T> action) => Refused(expected, () => { action(); });
}
