using System.Text.Json;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Nbd;

/// <summary><c>nbd info</c> beside nbdinfo, on the same server.</summary>
public sealed class NbdInfoCommandTests
{
    [Fact]
    [Trait("Category", "Interop")]
    public async Task Prints_what_nbdinfo_prints()
    {
        var missing = Tool.Missing("nbdinfo", "qemu-nbd", "qemu-img", "qemu-io");
        Assert.SkipWhen(missing is not null, missing ?? "");
        using var folder = new TemporaryDirectory();
        var socket = folder.File("nbd.sock");
        using var server = await NbdPeer.StartAsync(
            socket, "qemu-nbd", "-k", socket, "-f", "qcow2", "-t", "-B", "b0", "-A", "-x", "my \u00e9xp\"o\\rt", "-D",
            "a \"disk\"", await NbdDisk.CreateAsync(folder));
        var uri = $"nbd+unix:///my%20%C3%A9xp%22o%5Crt?socket={socket}";
        string[][] requests =
        [
            [], ["--list"], ["--map"], ["--map", "--totals"], ["--map=qemu:dirty-bitmap:b0"],
            ["--map=qemu:dirty-bitmap:b0", "--totals"],
        ];
        foreach (var request in requests)
        {
            // What nbdinfo knows of the content comes from another program.
            string[] theirs = request is [] ? ["--no-content"] : request;
            Assert.Equal(
                await Tool.RunOkAsync("nbdinfo", [.. theirs, uri]), await RunOkAsync([.. request, uri]));
            Assert.Equal(
                Compact(await Tool.RunOkAsync("nbdinfo", ["--json", .. theirs, uri])),
                Compact(await RunOkAsync(["--json", .. request, uri])));
        }
    }

    [Fact]
    [Trait("Category", "Interop")]
    public async Task Fails_where_nbdinfo_fails()
    {
        var missing = Tool.Missing("nbdinfo", "qemu-nbd");
        Assert.SkipWhen(missing is not null, missing ?? "");
        using var folder = new TemporaryDirectory();
        await File.WriteAllBytesAsync(
            folder.File("disk"), new byte[65536], TestContext.Current.CancellationToken);
        var socket = folder.File("nbd.sock");
        using var server = await NbdPeer.StartAsync(
            socket, "qemu-nbd", "-k", socket, "-f", "raw", "-t", "-x", "disk", folder.File("disk"));
        string[][] requests =
        [
            [$"nbd+unix:///other?socket={socket}"], ["--map=x:nope", $"nbd+unix:///disk?socket={socket}"],
            [$"nbd+unix:///?socket={folder.File("nobody")}"],
        ];
        foreach (var request in requests)
        {
            Assert.Equal(1, (await Tool.RunAsync("nbdinfo", request)).ExitCode);
            using var console = new TestConsole();
            Assert.Equal(ExitCode.Failure, await console.RunAsync(["nbd", "info", .. request]));
            Assert.Empty(console.Output);
            Assert.StartsWith("tidemark: error: ", console.Error, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("--list", "--map")]
    [InlineData("--totals")]
    public async Task Options_that_do_not_belong_together_are_refused(params string[] options)
    {
        using var console = new TestConsole();
        Assert.Equal(ExitCode.Usage, await console.RunAsync(["nbd", "info", .. options, "nbd://127.0.0.1:1/x"]));
    }

    private static async Task<string> RunOkAsync(string[] arguments)
    {
        using var console = new TestConsole();
        var code = await console.RunAsync(["nbd", "info", .. arguments]);
        Assert.True(code == ExitCode.Success, console.Error);
        return console.Output;
    }

    private static string Compact(string json)
    {
        using var document = JsonDocument.Parse(json);
        return JsonSerializer.Serialize(document.RootElement);
    }
}
