using System.Net;
using System.Net.Sockets;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Nbd;

/// <summary>What a user is told who gets a name, a place or a size wrong: what it was, and why it cannot be.</summary>
public sealed class NbdMessageTests : IDisposable
{
    private readonly TemporaryDirectory _folder = new();

    public NbdMessageTests()
    {
        File.WriteAllBytes(_folder.File("a.raw"), new byte[65536]);
        File.WriteAllBytes(_folder.File("short.raw"), new byte[4096]);
        Directory.CreateDirectory(_folder.File("folder"));
        File.CreateSymbolicLink(_folder.File("link.raw"), _folder.File("a.raw"));
    }

    public void Dispose() => _folder.Dispose();

    // In the arguments, @ stands for the test's folder.
    [Theory]
    [InlineData("serve @/nothing -k @/s", "@/nothing")]
    [InlineData("serve @/folder -k @/s", "@/folder", "directory")]
    [InlineData("serve @/a.raw -f qcow2 -k @/s", "@/a.raw", "not a qcow2 image")]
    [InlineData("serve @/a.raw -f raw -k @/nowhere/s", "@/nowhere/s", "folder does not exist")]
    [InlineData("serve @/a.raw -f raw -k @/short.raw", "@/short.raw", "exists")]
    [InlineData("serve @/a.raw -f raw --address 192.0.2.1 --port 0", "192.0.2.1", "does not have the address")]
    [InlineData("info nbd+unix:///?socket=@/nothing", "@/nothing", "no such socket")]
    [InlineData("info nbd+unix:///?socket=@/a.raw", "@/a.raw", "nobody listens")]
    [InlineData("info @/a.raw", "@/a.raw", "not an NBD URI")]
    [InlineData("copy @/a.raw @/folder", "@/folder", "folder")]
    [InlineData("copy @/folder @/out", "@/folder", "directory")]
    [InlineData("copy @/a.raw @/nowhere/out", "@/nowhere/out")]
    [InlineData("copy @/a.raw @/a.raw", "same file")]
    [InlineData("copy @/a.raw @/link.raw", "same file")]
    [InlineData("copy @/a.raw nbd+unix:///?socket=@/nothing", "@/nothing", "no such socket")]
    [InlineData("copy @/a.raw @/short.raw --bitmap b9", "b9")]
    public async Task A_mistake_is_told_with_its_place(string arguments, params string[] words)
    {
        using var console = new TestConsole();
        var code = await console.RunAsync(["nbd", .. arguments.Split(' ').Select(Placed)]);
        Assert.NotEqual(ExitCode.Success, code);
        Assert.Empty(console.Output);
        Assert.All(words, word => Assert.Contains(Placed(word), console.Error, StringComparison.Ordinal));
        Assert.False(File.Exists(_folder.File("s")));
        Assert.False(File.Exists(_folder.File("out")));
        Assert.Equal(65536, new FileInfo(_folder.File("a.raw")).Length);
    }

    [Fact]
    public async Task A_port_or_socket_that_is_taken_is_told_of()
    {
        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        using var console = new TestConsole();
        Assert.Equal(ExitCode.Failure, await console.RunAsync(
            ["nbd", "serve", _folder.File("a.raw"), "-f", "raw", "--port",
                $"{((IPEndPoint)taken.LocalEndpoint).Port}"]));
        Assert.Contains("in use", console.Error, StringComparison.Ordinal);

        await using var serving = await NbdServing.StartAsync(
            _folder.File("a.raw"), "-f", "raw", "-k", _folder.File("s"));
        using var second = new TestConsole();
        Assert.Equal(ExitCode.Failure, await second.RunAsync(
            ["nbd", "serve", _folder.File("short.raw"), "-f", "raw", "-k", _folder.File("s")]));
        Assert.Contains("another server listens there", second.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_target_that_is_too_small_is_told_of_with_both_sizes()
    {
        await using var serving = await NbdServing.StartAsync(
            _folder.File("short.raw"), "-f", "raw", "-k", _folder.File("s"));
        using var console = new TestConsole();
        Assert.Equal(
            ExitCode.Failure, await console.RunAsync(["nbd", "copy", _folder.File("a.raw"), serving.Uri]));
        Assert.Contains("65536", console.Error, StringComparison.Ordinal);
        Assert.Contains("4096", console.Error, StringComparison.Ordinal);
        Assert.Equal(new byte[4096], File.ReadAllBytes(_folder.File("short.raw")));
    }

    private string Placed(string text) => text.Replace("@", _folder.File("").TrimEnd('/'), StringComparison.Ordinal);
}
