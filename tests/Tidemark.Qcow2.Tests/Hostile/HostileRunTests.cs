using System.Diagnostics;
using Tidemark.Qcow2.Checking;
using Tidemark.Testing;
using Tidemark.Testing.Images;
using Xunit;

namespace Tidemark.Qcow2.Tests.Hostile;

/// <summary>A share of what <c>./fuzz qcow2</c> does at length; and the sketches themselves: without damage they are
/// good images.</summary>
public sealed class HostileRunTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public Task DamageGivesErrorsOnly() => TestSeed.RunAsync(async random =>
    {
        await using HostileRun run = new() { IsTold = true };
        var clock = Stopwatch.StartNew();
        for (var count = 0; count < 5_000; count++)
        {
            var seed = random.Next();
            try
            {
                run.Execute(new Random(seed));
            }
            catch (Exception exception)
            {
                throw new InvalidOperationException($"execution seed {seed}: {run.Story}: {exception}", exception);
            }
        }

        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{run.Opened} opened, {5_000 / clock.Elapsed.TotalSeconds:0} executions/s");
        Assert.True(run.Opened > 500, $"only {run.Opened} of the damaged images opened: the damage is too coarse");
    });

    [Fact]
    public async Task WithoutDamageTheSketchesAreRead()
    {
        foreach (var sketch in HostileSketches.All())
        {
            BudgetFile file = new("file", 4 << 20);
            file.Reset(sketch.File, sketch.File.Length);
            MemoryNode? data = sketch.Options.HasDataFile ? new MemoryNode("data", sketch.Data) : null;
            var report = await Qcow2Check.RunAsync(file, Token);
            Assert.True(report.IsClean, $"{sketch.Options}: {string.Join("; ", report.Messages)}");
            await using var node = await Qcow2Node.OpenAsync(
                "a", file, new Qcow2OpenOptions { ReadOnly = true, WithoutBacking = true, DataFile = data }, Token);
            var disk = new byte[node.Length];
            await node.ReadAsync(0, disk, Token);
            Assert.True(disk.AsSpan().SequenceEqual(sketch.Disk), $"{sketch.Options}");
            Assert.Equal(sketch.Options.Bitmaps, node.Bitmaps.Count);
        }
    }

    [Fact]
    [Trait("Category", "Interop")]
    public async Task WithoutDamageQemuAgrees()
    {
        var why = Tool.Missing("qemu-img");
        Assert.SkipWhen(why is not null, why ?? "");
        using TemporaryDirectory directory = new();
        foreach (var options in HostileSketches.Options().Where(options => options.BackingFile is null))
        {
            // A data file's name is not taken relative to the image.
            var sketch = ImageSketch.Lay(options.HasDataFile
                ? options with { DataFile = directory.File("data.raw") } : options);
            var path = directory.File("a.qcow2");
            await File.WriteAllBytesAsync(path, sketch.File, Token);
            await File.WriteAllBytesAsync(directory.File("data.raw"), sketch.Data, Token);
            var check = await Tool.RunAsync("qemu-img", ["check", path]);
            Assert.True(check.ExitCode == 0, $"{sketch.Options}: {check.Output}{check.Error}");
            await Tool.RunOkAsync("qemu-img", "convert", "-O", "raw", path, directory.File("a.raw"));
            var read = await File.ReadAllBytesAsync(directory.File("a.raw"), Token);
            Assert.True(read.AsSpan(0, sketch.Disk.Length).SequenceEqual(sketch.Disk), $"{sketch.Options}");
        }
    }
}
