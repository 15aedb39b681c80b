using Tidemark.Interop.Tests.Guests;
using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Interop.Tests.Programs;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Interop.Tests;

/// <summary>
/// What goes wrong, at the worst moment: right after the transaction, with jobs running. Each time the same is asked
/// for: a clear error, nothing left behind on the hypervisor, a repository that restic finds whole, and a next backup
/// that works and is one instant.
/// </summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class FailureTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Each hypervisor with each mode.</summary>
    public static TheoryData<HypervisorKind, string> Everywhere
    {
        get
        {
            var data = new TheoryData<HypervisorKind, string>();
            foreach (var kind in Enum.GetValues<HypervisorKind>())
            {
                data.Add(kind, "pull");
                data.Add(kind, "push");
            }

            return data;
        }
    }

    // Both fail before the mode matters: each hypervisor once, each mode at least once.
    [Theory]
    [InlineData(HypervisorKind.QemuStorageDaemon, "pull")]
    [InlineData(HypervisorKind.EmbeddedEngine, "push")]
    [InlineData(HypervisorKind.QemuSystem, "pull")]
    public async Task A_wrong_password_touches_nothing(HypervisorKind kind, string mode)
    {
        await using var scene = await BegunAsync(kind);
        var before = await scene.Hypervisor.BitmapsAsync(Token);
        var stranger = new TidemarkProgram(scene.Folder, "not the password");
        var said = await stranger.BackupFailsAsync(
            scene.Source, ["--mode", mode, .. scene.Hypervisor.NbdOptions]);
        Assert.Contains("password", said, StringComparison.OrdinalIgnoreCase);
        Assert.Equal(before, await scene.Hypervisor.BitmapsAsync(Token));
        await AssertRecoveredAsync(scene, mode, "incremental");
    }

    // Both fail before the mode matters: each hypervisor once, each mode at least once.
    [Theory]
    [InlineData(HypervisorKind.QemuStorageDaemon, "pull")]
    [InlineData(HypervisorKind.EmbeddedEngine, "push")]
    [InlineData(HypervisorKind.QemuSystem, "pull")]
    public async Task A_damaged_index_is_named(HypervisorKind kind, string mode)
    {
        await using var scene = await BegunAsync(kind);
        var before = await scene.Hypervisor.BitmapsAsync(Token);
        var index = Directory.EnumerateFiles(Path.Combine(scene.Tidemark.Repository, "index")).First();
        var whole = await File.ReadAllBytesAsync(index, Token);
        var damaged = whole.ToArray();
        damaged[damaged.Length / 2] ^= 0x40;
        File.SetUnixFileMode(index, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        await File.WriteAllBytesAsync(index, damaged, Token);

        var said = await scene.BackupFailsAsync(mode);
        Assert.Contains(Path.GetFileName(index)[..8], said);
        Assert.Equal(before, await scene.Hypervisor.BitmapsAsync(Token));
        await scene.AssertNothingLeftAsync(said);

        await File.WriteAllBytesAsync(index, whole, Token);
        await AssertRecoveredAsync(scene, mode, "incremental");
    }

    [Theory]
    [MemberData(nameof(Everywhere))]
    public async Task A_monitor_that_closes_in_the_middle(HypervisorKind kind, string mode)
    {
        await using var scene = await BegunAsync(kind);
        await using var proxy = new MonitorProxy(
            Path.Combine(scene.Folder, "proxy.sock"), scene.Hypervisor.MonitorPath);
        var reached = false;
        proxy.Interrupt = () =>
        {
            reached = true;
            return Task.FromResult(false);
        };
        var said = await scene.BackupFailsAsync(mode, $"qmp:{proxy.Path}");
        Assert.True(reached, $"the run did not come to its transaction: {said}");
        Assert.Contains("monitor", said, StringComparison.OrdinalIgnoreCase);
        await scene.AssertNothingLeftAsync(said);
        await AssertRecoveredAsync(scene, mode, "incremental");
    }

    [Theory]
    [MemberData(nameof(Everywhere))]
    public async Task A_hypervisor_killed_in_the_middle(HypervisorKind kind, string mode)
    {
        await using var scene = await BegunAsync(kind);
        await using var proxy = new MonitorProxy(
            Path.Combine(scene.Folder, "proxy.sock"), scene.Hypervisor.MonitorPath);
        proxy.Interrupt = async () =>
        {
            // A guest may count on what it flushed, and on nothing else.
            await scene.Hypervisor.FlushAsync(Token);
            await scene.Hypervisor.KillAsync();
            return false;
        };
        var said = await scene.BackupFailsAsync(mode, $"qmp:{proxy.Path}");
        Assert.Null(proxy.Interrupt);
        Assert.NotEmpty(said);

        await scene.Hypervisor.StartAsync(Token);
        // The image was not closed: its bitmaps are inconsistent or were never stored. The disk is read again, whole.
        await AssertRecoveredAsync(scene, mode, "re-read");
    }

    [Theory]
    [MemberData(nameof(Everywhere))]
    public async Task A_run_killed_in_the_middle_is_cleaned_up_by_the_next(HypervisorKind kind, string mode)
    {
        await using var scene = await BegunAsync(kind);
        await using var proxy = new MonitorProxy(
            Path.Combine(scene.Folder, "proxy.sock"), scene.Hypervisor.MonitorPath);
        var reached = new TaskCompletionSource();
        var released = new TaskCompletionSource();
        proxy.Interrupt = async () =>
        {
            reached.SetResult();
            await released.Task;
            return false;
        };
        using var run = scene.Tidemark.Start(
        [
            "backup", $"qmp:{proxy.Path}", "--repo", scene.Tidemark.Repository, "--name", "vm", "--mode", mode,
            .. scene.Hypervisor.NbdOptions,
        ]);
        await reached.Task.WaitAsync(TimeSpan.FromMinutes(1), Token);
        run.Kill();
        await run.WaitForExitAsync(Token);
        released.SetResult();
        Assert.NotEmpty(await scene.Hypervisor.LeftoversAsync(Token));

        // The dead run's lock is stale: restic refuses to check until somebody removes it, as our next backup does.
        await AssertRecoveredAsync(scene, mode, "incremental", isLocked: true);
    }

    [Theory]
    [MemberData(nameof(Everywhere))]
    public async Task A_second_run_at_the_same_time_is_refused(HypervisorKind kind, string mode)
    {
        await using var scene = await BegunAsync(kind);
        await using var proxy = new MonitorProxy(
            Path.Combine(scene.Folder, "proxy.sock"), scene.Hypervisor.MonitorPath);
        var second = "";
        proxy.Interrupt = async () =>
        {
            second = await scene.BackupFailsAsync(mode);
            return true;
        };
        var atLeast = scene.Writes.Completed;
        var report = await scene.Tidemark.BackupAsync(
            $"qmp:{proxy.Path}", ["--mode", mode, .. scene.Hypervisor.NbdOptions]);
        Assert.NotEmpty(second);
        Assert.Contains("another", second, StringComparison.OrdinalIgnoreCase);
        await scene.AssertNothingLeftAsync();
        var first = new Scene.Point(report, atLeast, scene.Writes.Begun);
        Assert.All(first.Kinds, kind => Assert.Equal("incremental", kind));
        await scene.CheckRestoredAsync(first);
        await AssertRecoveredAsync(scene, mode, "incremental");
    }

    [Theory]
    [MemberData(nameof(Everywhere))]
    public async Task A_full_target(HypervisorKind kind, string mode)
    {
        Scene.SkipUnlessPossible();
        await using var scene = await Scene.CreateAsync(kind, repository: false);
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "needs to mount a small tmpfs, which only root may");
        await using var small = await SmallFileSystem.MountAsync(
            scene.Tidemark.Repository, megabytes: 6, Token);
        await scene.Tidemark.RunOkAsync("init", "--repo", scene.Tidemark.Repository);
        await WriteIncompressibleAsync(scene, slots: 3000);

        var said = await scene.BackupFailsAsync(mode);
        Assert.Contains("space", said, StringComparison.OrdinalIgnoreCase);
        await scene.AssertNothingLeftAsync(said);
        Assert.Empty(await scene.Hypervisor.BitmapsAsync(Token));
        await scene.Tidemark.ResticAsync("check", "--no-lock");

        await small.GrowAsync(megabytes: 200, Token);
        var point = await scene.BackupAsync(mode);
        Assert.All(point.Kinds, kind => Assert.Equal("full", kind));
        await scene.AssertNothingLeftAsync();
        await scene.CheckRestoredAsync(point);
        await scene.Tidemark.ResticAsync("check", "--read-data");
    }

    /// <summary>A scene with a first point in the repository and some writes since.</summary>
    private static async Task<Scene> BegunAsync(HypervisorKind kind)
    {
        Scene.SkipUnlessPossible();
        var scene = await Scene.CreateAsync(kind);
        scene.Guest.Start(seed: 3, TimeSpan.FromMilliseconds(kind == HypervisorKind.QemuSystem ? 100 : 3));
        await scene.BackupAsync("pull");
        await scene.Guest.WriteMoreAsync(10, Token);
        await scene.Guest.StopAsync();
        return scene;
    }

    /// <summary>The next backup works, is of this kind, is one instant, and leaves nothing; restic agrees.</summary>
    private static async Task AssertRecoveredAsync(Scene scene, string mode, string kind, bool isLocked = false)
    {
        await scene.Tidemark.ResticAsync(["check", .. isLocked ? new[] { "--no-lock" } : []]);
        await scene.WriteAsync(disk: 1, slot: 3000);

        var point = await scene.BackupAsync(mode);
        Assert.All(point.Kinds, actual => Assert.Equal(kind, actual));
        await scene.AssertNothingLeftAsync();
        await scene.CheckRestoredAsync(point);
        await scene.Tidemark.ResticAsync("check", "--read-data");
    }

    private static async Task WriteIncompressibleAsync(Scene scene, int slots)
    {
        // The emulator's guest can only repeat one byte: its disks get their noise from outside, before it starts.
        if (scene.Kind == HypervisorKind.QemuSystem)
        {
            await scene.Hypervisor.StopAsync(Token);
            var noise = Path.Combine(scene.Folder, "cache", "noise");
            Directory.CreateDirectory(Path.GetDirectoryName(noise)!);
            var bytes = new byte[slots * GuestWrites.SlotLength];
            new Random(4).NextBytes(bytes);
            await File.WriteAllBytesAsync(noise, bytes, Token);
            await Tool.RunOkAsync(
                "qemu-io", "-c", $"write -q -s {noise} 0 {bytes.Length}", scene.Hypervisor.DiskPath(0));
            bytes.CopyTo(scene.Initial[0], 0);
            await scene.Hypervisor.StartAsync(Token);
            return;
        }

        for (var slot = 0; slot < slots; slot++)
        {
            await scene.WriteAsync(0, slot);
        }
    }
}
