using System.Net.Sockets;
using Tidemark.Engine.Daemon;
using Tidemark.Qmp;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Domains;

/// <summary><c>domain event</c> beside a backup of the embedded engine.</summary>
public sealed class EventVerbTests : IAsyncLifetime
{
    private readonly TemporaryDirectory _folder = new();
    private Task<int>? _daemon;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string Monitor => _folder.File("qmp.sock");

    public async ValueTask InitializeAsync()
    {
        await RunAsync(["image", "create", "-f", "qcow2", _folder.File("vda.qcow2"), "8M"]);
        _daemon = StorageDaemon.RunAsync(
            [
                "--blockdev", $"driver=file,node-name=f,filename={_folder.File("vda.qcow2")}",
                "--blockdev", "driver=qcow2,node-name=vda,file=f",
                "--chardev", $"socket,id=m,path={Monitor},server=on,wait=off", "--monitor", "chardev=m",
            ],
            TextWriter.Null,
            TextWriter.Null);
        while (!Path.Exists(Monitor))
        {
            Assert.False(_daemon.IsCompleted, "the engine has ended");
            await Task.Delay(10, Token);
        }
    }

    [Fact]
    public async Task A_backup_that_ended_is_three_events_and_all_is_what_is_printed_anyway()
    {
        foreach (var option in new[] { "--timestamp", "--all" })
        {
            await BeginAsync($"<domainbackup><disks>{Image("target", option)}</disks></domainbackup>");
            var (code, output, error) = await DomainAsync("event", option, "--timeout", "60");
            Assert.True(code == 0, error);
            Assert.Contains("event 'block-job-2' for domain 'vm': Backup for vda completed\n", output);
            Assert.Contains("event 'job-completed' for domain 'vm':\n\toperation: 9\n", output);
            Assert.Contains("\tsuccess: 1\n", output);
            Assert.EndsWith("events received: 3\n", output);
            Assert.Equal(option == "--timestamp", output.StartsWith("20", StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task Only_the_events_of_a_name_are_printed()
    {
        await BeginAsync($"<domainbackup><disks>{Image("target", "t")}</disks></domainbackup>");
        var (code, output, _) = await DomainAsync("event", "--event", "job-completed", "--timeout", "60");
        Assert.Equal(0, code);
        Assert.DoesNotContain("block-job", output, StringComparison.Ordinal);
        Assert.EndsWith("events received: 1\n", output);
    }

    [Fact]
    public async Task Nothing_that_happens_is_no_success()
    {
        var (code, output, error) = await DomainAsync("event", "--timeout", "0.05");
        Assert.Equal(1, code);
        Assert.Equal("events received: 0\n", output);
        Assert.Contains("event loop timed out", error, StringComparison.Ordinal);
    }

    /// <summary>A client that was there and is gone for the time that was said: the pull failed, and its checkpoint
    /// goes.</summary>
    [Fact]
    public async Task A_pull_whose_client_is_gone_is_given_up()
    {
        await BeginAsync(
            $"<domainbackup mode='pull'><server transport='unix' socket='{_folder.File("pull.sock")}'/><disks>"
                + $"{Image("scratch", "s")}</disks></domainbackup>",
            "<domaincheckpoint><name>c1</name></domaincheckpoint>");
        Assert.Equal("c1\n", (await DomainAsync("checkpoint-list", "--name")).Output);
        var events = DomainAsync("event", "--client-timeout", "0.2", "--timeout", "60");

        // A client that comes and goes: longer there than between two looks, longer gone than is allowed.
        while (!events.IsCompleted && Path.Exists(_folder.File("pull.sock")))
        {
            using (var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
            {
                try
                {
                    await client.ConnectAsync(new UnixDomainSocketEndPoint(_folder.File("pull.sock")), Token);
                }
                catch (SocketException)
                {
                    break;
                }

                await Task.WhenAny(events, Task.Delay(1000, Token));
            }

            await Task.WhenAny(events, Task.Delay(2000, Token));
        }

        var (code, output, error) = await events;
        Assert.True(code == 0, error);
        Assert.Contains("\tsuccess: 0\n\terrmsg: the NBD client is gone", output);
        Assert.Equal("", (await DomainAsync("checkpoint-list", "--name")).Output);
        Assert.Contains("Failed", (await DomainAsync("domjobinfo", "--completed")).Output);
    }

    [Theory]
    [InlineData("--all and --event are two choices", "--all", "--event", "block-job")]
    [InlineData("is a number of seconds over zero", "--client-timeout", "0")]
    [InlineData("is a number of seconds over zero", "--timeout", "-1")]
    [InlineData("no-such-event", "--event", "no-such-event")]
    public async Task What_makes_no_sense_is_refused(string message, params string[] options)
    {
        var (code, _, error) = await DomainAsync(["event", .. options]);
        Assert.Equal(2, code);
        Assert.Contains(message, error, StringComparison.Ordinal);
    }

    /// <summary>virsh takes its arguments as options, too.</summary>
    [Fact]
    public async Task Arguments_can_be_given_as_options_once_and_what_is_missing_is_named()
    {
        Assert.Equal(0, (await DomainAsync("checkpoint-create-as", "--name", "c1")).Code);
        Assert.Contains(
            "<name>c1</name>", (await DomainAsync("checkpoint-dumpxml", "--checkpointname", "c1")).Output);
        var (code, _, error) = await DomainAsync("checkpoint-dumpxml", "c1", "--checkpointname", "c1");
        Assert.Equal((2, true), (code, error.Contains("NAME is given twice", StringComparison.Ordinal)));
        (code, _, error) = await DomainAsync("blockcopy", "--dest", _folder.File("copy"), "--finish");
        Assert.Equal((2, true), (code, error.Contains("DISK is missing", StringComparison.Ordinal)));
        (code, _, error) = await DomainAsync(
            "blockcopy", "--path", "vda", "--dest", _folder.File("copy"), "--finish");
        Assert.True(code == 0, error);
        Assert.True(File.Exists(_folder.File("copy")));
    }

    public async ValueTask DisposeAsync()
    {
        if (_daemon is { IsCompleted: false })
        {
            await using var monitor = await QmpConnection.ConnectAsync(QmpEndPoint.Unix(Monitor));
            try
            {
                await monitor.ExecuteAsync(new QmpCommand("quit"));
            }
            catch (QmpException)
            {
                // It may hang up before its reply was read.
            }

            Assert.Equal(0, await _daemon);
        }

        _folder.Dispose();
    }

    private string Image(string element, string name) =>
        $"<disk name='vda' type='file'><{element} file='{_folder.File(name.TrimStart('-'))}'/></disk>";

    private async Task BeginAsync(string backup, string? checkpoint = null)
    {
        await File.WriteAllTextAsync(_folder.File("backup.xml"), backup, Token);
        await File.WriteAllTextAsync(_folder.File("checkpoint.xml"), checkpoint ?? "", Token);
        string[] second = checkpoint is null ? [] : [_folder.File("checkpoint.xml")];
        var (code, _, error) = await DomainAsync(["backup-begin", _folder.File("backup.xml"), .. second]);
        Assert.True(code == 0, error);
    }

    private Task<(int Code, string Output, string Error)> DomainAsync(params string[] arguments) => RunAsync(
        [
            "domain", .. arguments, "--monitor", $"qmp:{Monitor}", "--domain", "vm", "--state-dir",
            _folder.File("state"),
        ]);

    private static async Task<(int Code, string Output, string Error)> RunAsync(string[] arguments)
    {
        using var console = new TestConsole();
        var code = await console.RunAsync(arguments);
        return (code, console.Output, console.Error);
    }
}
