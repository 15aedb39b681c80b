using System.Diagnostics;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Nbd;

/// <summary><c>nbd serve</c> as a process that was started with its listening sockets (LISTEN_FDS).</summary>
public sealed partial class SocketActivationTests : IDisposable
{
    private const int SetDescriptorFlags = 2;

    private readonly TemporaryDirectory _folder = new();
    private readonly string _disk;

    public SocketActivationTests()
    {
        _disk = _folder.File("disk.raw");
        File.WriteAllBytes(_disk, Enumerable.Repeat((byte)5, 65536).ToArray());
    }

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static string Program => Path.GetFullPath(Path.Combine(
        AppContext.BaseDirectory, "..", "..", "Tidemark.Cli",
        Path.GetFileName(Path.TrimEndingDirectorySeparator(AppContext.BaseDirectory)), "tidemark"));

    private string SocketPath => _folder.File("s");

    public void Dispose() => _folder.Dispose();

    [LibraryImport("libc", EntryPoint = "fcntl", SetLastError = true)]
    private static partial int SetFlags(int descriptor, int command, int flags);

    // A shell moves our socket to the place where it is looked for and becomes the program: the same process.
    private Process Launch(Socket listener, params string[] options)
    {
        var descriptor = (int)listener.Handle;
        Assert.Equal(0, SetFlags(descriptor, SetDescriptorFlags, 0));
        var start = new ProcessStartInfo("bash") { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var argument in (string[])[
            "-c",
            $"exec 3<&{descriptor} {descriptor}<&-; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"",
            "bash", Program, "nbd", "serve", _disk, "-f", "raw", .. options])
        {
            start.ArgumentList.Add(argument);
        }

        return Process.Start(start) ?? throw new InvalidOperationException("could not start bash");
    }

    private Socket Listen()
    {
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(SocketPath));
        listener.Listen(16);
        return listener;
    }

    private Task<NbdClient> ConnectAsync() => NbdClient.ConnectAsync(
        NbdEndPoint.ForUnix(SocketPath), new NbdClientOptions(), Cancellation);

    [Fact]
    public async Task A_socket_that_was_handed_over_is_served_until_a_signal()
    {
        Assert.SkipWhen(Tool.Missing("bash") is not null, Tool.Missing("bash") ?? "");
        using var listener = Listen();
        using var process = Launch(listener);
        var output = process.StandardOutput.ReadToEndAsync(Cancellation);
        var error = process.StandardError.ReadToEndAsync(Cancellation);
        try
        {
            // The client's connection waits in the socket until the program takes it.
            await using (var client = await ConnectAsync())
            {
                var target = new byte[512];
                await client.ReadAsync(0, target, Cancellation);
                Assert.Equal(5, target[511]);
            }

            await Tool.RunOkAsync("kill", "-TERM", $"{process.Id}");
            await process.WaitForExitAsync(Cancellation).WaitAsync(TimeSpan.FromSeconds(30), Cancellation);
            Assert.Equal(ExitCode.Success, process.ExitCode);
            Assert.Empty(await output);
            Assert.DoesNotContain("error", await error, StringComparison.Ordinal);

            // It belongs to whoever made it.
            Assert.True(File.Exists(SocketPath));
        }
        finally
        {
            process.Kill();
        }
    }

    [Fact]
    public async Task With_sockets_of_its_own_it_is_told_no_other_place_to_listen_at()
    {
        Assert.SkipWhen(Tool.Missing("bash") is not null, Tool.Missing("bash") ?? "");
        using var listener = Listen();
        using var process = Launch(listener, "--port", "0");
        var error = await process.StandardError.ReadToEndAsync(Cancellation);
        await process.WaitForExitAsync(Cancellation);
        Assert.Equal(ExitCode.Usage, process.ExitCode);
        Assert.Contains("LISTEN_FDS", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_descriptor_that_does_not_listen_is_refused_by_its_number()
    {
        Assert.SkipWhen(Tool.Missing("bash") is not null, Tool.Missing("bash") ?? "");
        using var idle = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        using var process = Launch(idle);
        var error = await process.StandardError.ReadToEndAsync(Cancellation);
        await process.WaitForExitAsync(Cancellation);
        Assert.Equal(ExitCode.Failure, process.ExitCode);
        Assert.Contains("descriptor 3", error, StringComparison.Ordinal);
    }

    [Fact]
    [Trait("Category", "Interop")]
    public async Task Systemds_own_launcher_starts_it_at_the_first_client()
    {
        var missing = Tool.Missing("systemd-socket-activate", "nbdinfo");
        Assert.SkipWhen(missing is not null, missing ?? "");
        using var process = Process.Start(new ProcessStartInfo(
            "systemd-socket-activate",
            ["-l", SocketPath, Program, "nbd", "serve", _disk, "-f", "raw", "--once"])
        { RedirectStandardError = true, RedirectStandardOutput = true })!;
        var error = process.StandardError.ReadToEndAsync(Cancellation);
        try
        {
            var watch = Stopwatch.StartNew();
            while (!File.Exists(SocketPath) && watch.Elapsed < TimeSpan.FromSeconds(20))
            {
                await Task.Delay(TimeSpan.FromMilliseconds(10), Cancellation);
            }

            var size = await Tool.RunOkAsync("nbdinfo", "--size", $"nbd+unix:///?socket={SocketPath}");
            Assert.Equal("65536", size.Trim());
            await process.WaitForExitAsync(Cancellation).WaitAsync(TimeSpan.FromSeconds(30), Cancellation);
            Assert.True(process.ExitCode == ExitCode.Success, await error);
        }
        finally
        {
            process.Kill();
        }
    }
}
