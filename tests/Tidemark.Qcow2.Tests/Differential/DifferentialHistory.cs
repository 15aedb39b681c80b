using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests.Differential;

/// <summary>
/// An image goes back and forth ten times between a QEMU release and the library: one side makes random changes, the
/// other reads, checks and describes what it finds, and writes on. Content, check, size, snapshots and bitmaps must be
/// those of a model that both follow.
/// </summary>
/// <remarks><c>TIDEMARK_SOAK=N</c> lets each image go N times. One class of tests for each release, so that two of
/// them run beside each other: most of the time goes into starting QEMU's programs, one after the other.</remarks>
internal static class DifferentialHistory
{
    private const int Turns = 10;

    private static readonly DifferentialKind[] s_kinds = [.. DifferentialKinds.All()];

    /// <summary>The kinds of image that a release knows, by name.</summary>
    internal static TheoryData<string> KindsOf(string version) =>
        [.. s_kinds.Where(kind => kind.First <= Version.Parse(version)).Select(kind => kind.Name)];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Lets an image go back and forth, or skips where the release is not there.</summary>
    internal static async Task RunAsync(string version, string name)
    {
        var qemu = QemuVersions.Need(version);
        var kind = s_kinds.First(kind => kind.Name == name);
        var rounds = int.TryParse(Environment.GetEnvironmentVariable("TIDEMARK_SOAK"), out var soak) ? soak : 1;
        for (var round = 0; round < rounds; round++)
        {
            await TestSeed.RunAsync(random => RunAndTellAsync(qemu, kind, random));
        }
    }

    // A failure comes with all that was done, and leaves the images where it says.
    private static async Task RunAndTellAsync(QemuVersion qemu, DifferentialKind kind, Random random)
    {
        using TemporaryDirectory directory = new(inMemory: true);
        DiskModel model = new(kind.Length);
        try
        {
            await RunAsync(qemu, kind, random, directory, model);
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            directory.Keep();
            var history = string.Join(Environment.NewLine, model.History);
            throw new InvalidOperationException(
                $"{qemu}, {kind}, images in {directory.Path}: {exception.Message}{Environment.NewLine}{history}",
                exception);
        }
    }

    private static async Task RunAsync(
        QemuVersion qemu, DifferentialKind kind, Random random, TemporaryDirectory directory, DiskModel model)
    {
        var path = directory.File("a.qcow2");
        var scratch = directory.File("read.raw");
        string? backing = null;
        if (kind.BackingLength > 0)
        {
            backing = directory.File("base.raw");
            var content = new byte[kind.BackingLength];
            random.NextBytes(content);
            await File.WriteAllBytesAsync(backing, content, Token);
            content.AsSpan(0, Math.Min(content.Length, kind.Length)).CopyTo(model.Bytes);
        }

        QemuSide theirs = new(qemu, kind, path);
        var data = directory.File("data.raw");
        OurSide ours = new(kind, path, backing, kind.HasDataFile ? data : null);
        if (kind.Ours is not null && random.Next(2) == 0)
        {
            await ours.CreateAsync();
            await theirs.JudgeAsync(model, scratch);
        }
        else
        {
            await theirs.CreateAsync(data, backing);
        }

        for (var turn = 0; turn < Turns; turn++)
        {
            model.History.Add($"turn {turn}: {(turn % 2 == 0 ? qemu.ToString() : "Tidemark")}");
            if (turn % 2 == 0)
            {
                await theirs.ChangeAsync(model, random);
                if (model.Unknown.Count > 0)
                {
                    var difference = model.Compare(await theirs.ReadAsync(scratch));
                    Assert.True(difference is null, $"{qemu} reads its own: {difference}");
                }

                await ours.JudgeAsync(model);
            }
            else
            {
                await ours.ChangeAsync(model, random);
                await theirs.JudgeAsync(model, scratch);
                await ours.JudgeAsync(model);
            }
        }

        await theirs.JudgeSnapshotsAsync(model, scratch);
    }
}
