using System.Text.Json.Nodes;
using Tidemark.Engine.Daemon;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Qmp;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Engine.Tests.Daemon;

public sealed class StorageDaemonTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_command_line_sets_everything_up_and_quit_clears_it_away()
    {
        using var folder = new TemporaryDirectory();
        await File.WriteAllBytesAsync(folder.File("disk"), new byte[1 << 20], Cancellation);
        var (error, running) = Start(
            "--blockdev", $"driver=file,node-name=f,filename={folder.File("disk")}",
            "--blockdev", "raw,node-name=disk,size=64K,file=f",
            "--nbd-server", $"addr.type=unix,addr.path={folder.File("nbd")},max-connections=5",
            "--export", "nbd,id=e,node-name=disk,writable=on,description=a disk",
            "--chardev", $"socket,id=m,path={folder.File("qmp")},server=on,wait=off",
            "--monitor", "chardev=m,mode=control",
            "--pidfile", folder.File("pid"));
        await ExistsAsync(folder.File("pid"), running);
        Assert.Equal($"{Environment.ProcessId}\n", await File.ReadAllTextAsync(folder.File("pid"), Cancellation));
        await using (var disk = await NbdNode.ConnectAsync(
            "disk", NbdEndPoint.ForUnix(folder.File("nbd")), new NbdNodeOptions { ExportName = "disk" }, Cancellation))
        {
            Assert.Equal(65536, disk.Length);
            await disk.WriteAsync(0, "hello"u8.ToArray(), cancellationToken: Cancellation);
        }

        await using (var monitor = await ConnectAsync(folder))
        {
            await monitor.ExecuteAsync(new QmpCommand("quit"), Cancellation);
            await monitor.Closed.WaitAsync(Cancellation);
        }

        Assert.Equal(0, await running);
        Assert.Equal("", error.ToString());
        Assert.Equal(["disk"], Directory.GetFileSystemEntries(folder.Path).Select(Path.GetFileName));
        Assert.Equal("hello"u8.ToArray(), (await File.ReadAllBytesAsync(folder.File("disk"), Cancellation))[..5]);
    }

    [Fact]
    public async Task A_monitor_serves_one_client_after_another()
    {
        using var folder = new TemporaryDirectory();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        var (_, running) = Start(
            stop.Token, "--chardev", $"socket,id=m,path={folder.File("qmp")},server=on,wait=off", "--monitor", "m");
        await ExistsAsync(folder.File("qmp"), running);
        await using (await ConnectAsync(folder))
        {
            var error = await Assert.ThrowsAsync<QmpException>(() => QmpConnection.ConnectAsync(
                QmpEndPoint.Unix(folder.File("qmp")), TimeSpan.FromMilliseconds(150), cancellationToken: Cancellation));
            Assert.Contains("another client is connected", error.Message, StringComparison.Ordinal);
        }

        await using (var next = await ConnectAsync(folder))
        {
            await next.ExecuteAsync(new QmpCommand("query-version"), Cancellation);
            await stop.CancelAsync();
            await next.Closed.WaitAsync(Cancellation);
        }

        Assert.Equal(0, await running);
        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public async Task Nobody_is_served_before_every_option_has_been_carried_out()
    {
        using var folder = new TemporaryDirectory();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);

        // The second monitor holds the set-up back until its client comes.
        var (_, running) = Start(
            stop.Token,
            "--chardev", $"socket,id=m,path={folder.File("qmp")},server=on,wait=off", "--monitor", "m",
            "--chardev", $"socket,id=n,path={folder.File("late")},server=on,wait=on", "--monitor", "n",
            "--blockdev", "null-co,node-name=last,size=64K");
        await ExistsAsync(folder.File("late"), running);
        await Assert.ThrowsAsync<QmpException>(() => QmpConnection.ConnectAsync(
            QmpEndPoint.Unix(folder.File("qmp")), TimeSpan.FromMilliseconds(150), cancellationToken: Cancellation));

        await using var late = await QmpConnection.ConnectAsync(
            QmpEndPoint.Unix(folder.File("late")), TimeSpan.FromSeconds(30), cancellationToken: Cancellation);
        await using (var monitor = await ConnectAsync(folder))
        {
            var nodes = await monitor.ExecuteAsync(new QmpCommand("query-named-block-nodes"), Cancellation);
            Assert.Equal("last", nodes[0].GetProperty("node-name").GetString());
        }

        await stop.CancelAsync();
        Assert.Equal(0, await running);
    }

    [Theory]
    [InlineData("--blockdev", "file,node-name=f,filename=/nonexistent/disk", "No such file or directory")]
    [InlineData("--blockdev", "null-co,node-name=f,sise=5", "Parameter 'sise' is unexpected")]
    [InlineData("--blockdev", "null-co,node-name=f,size=5Q", "Parameter 'size' expects size")]
    [InlineData("--export", "nbd,id=e,node-name=f", "Cannot find device='' nor node-name='f'")]
    [InlineData("--nbd-server", "addr.type=unix", "Parameter 'addr.path' is missing")]
    [InlineData("--monitor", "chardev=m", "not found")]
    public async Task What_cannot_be_set_up_is_named_and_nothing_stays(string option, string text, string expected)
    {
        var (error, running) = Start("--blockdev", "null-co,node-name=first", option, text);
        Assert.Equal(StorageDaemon.Failure, await running);
        Assert.Contains(expected, error.ToString(), StringComparison.Ordinal);
        Assert.Contains($"{option} {text}", error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Help_and_version_need_no_engine()
    {
        var output = new StringWriter();
        Assert.Equal(0, await StorageDaemon.RunAsync(["--help"], output, TextWriter.Null, Cancellation));
        Assert.Contains("--blockdev", output.ToString(), StringComparison.Ordinal);
        Assert.Equal(0, await StorageDaemon.RunAsync(["-V"], output, TextWriter.Null, Cancellation));
    }

    [Fact]
    public async Task A_command_line_and_a_monitor_do_the_same()
    {
        using var folder = new TemporaryDirectory();
        var (_, running) = Start(
            "--blockdev", """{"driver":"null-co","node-name":"n","size":4096}""",
            "--chardev", $"socket,id=m,path={folder.File("qmp")},server=on,wait=off", "--monitor", "m");
        await ExistsAsync(folder.File("qmp"), running);
        await using var monitor = await ConnectAsync(folder);
        await monitor.ExecuteAsync(
            new QmpCommand(
                "blockdev-add", new JsonObject { ["driver"] = "null-co", ["node-name"] = "o", ["size"] = 4096 }),
            Cancellation);
        var nodes = await monitor.ExecuteAsync(new QmpCommand("query-named-block-nodes"), Cancellation);
        Assert.Equal(["o", "n"], nodes.EnumerateArray().Select(node => node.GetProperty("node-name").GetString()));
        await monitor.ExecuteAsync(new QmpCommand("quit"), Cancellation);
        Assert.Equal(0, await running);
    }

    private static (StringWriter Error, Task<int> Running) Start(params string[] arguments) =>
        Start(Cancellation, arguments);

    private static (StringWriter Error, Task<int> Running) Start(
        CancellationToken cancellationToken, params string[] arguments)
    {
        var error = new StringWriter();
        return (error, StorageDaemon.RunAsync(arguments, TextWriter.Null, error, cancellationToken));
    }

    private static Task<QmpConnection> ConnectAsync(TemporaryDirectory folder) =>
        QmpConnection.ConnectAsync(QmpEndPoint.Unix(folder.File("qmp")), cancellationToken: Cancellation);

    private static async Task ExistsAsync(string path, Task<int> running)
    {
        while (!File.Exists(path))
        {
            Assert.False(running.IsCompleted, "the daemon has ended");
            await Task.Delay(TimeSpan.FromMilliseconds(5), Cancellation);
        }
    }
}
