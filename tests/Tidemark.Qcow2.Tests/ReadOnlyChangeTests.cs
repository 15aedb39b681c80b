using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Checking;
using Xunit;

namespace Tidemark.Qcow2.Tests;

/// <summary>An image that becomes read-only, and writable again, while it is open.</summary>
public sealed class ReadOnlyChangeTests
{
    private const int Granule = 4096;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_read_only_image_has_its_bitmaps_in_step_on_disk_and_a_writable_one_has_not()
    {
        RecordingFile file = new();
        await using var node = await CreateAsync(file);
        Assert.Equal("b:inconsistent", await StateAsync(file.Content));
        await node.WriteAsync(3 * Granule, new byte[] { 1 }, cancellationToken: Token);
        await node.SetReadOnlyAsync(true, Token);
        Assert.Equal($"b:{Granule}", await StateAsync(file.Content));
        Assert.True((await Qcow2Check.RunAsync(new RecordingFile(file.Content), Token)).IsClean);

        await node.SetReadOnlyAsync(false, Token);
        Assert.Equal("b:inconsistent", await StateAsync(file.Content));
        await node.WriteAsync(9 * Granule, new byte[] { 1 }, cancellationToken: Token);
        await node.DisposeAsync();
        Assert.Equal($"b:{2 * Granule}", await StateAsync(file.Content));
    }

    /// <summary>Whatever write fails on the way: a node that still takes writes has no bitmap on disk that claims to be
    /// in step.</summary>
    [Theory]
    [InlineData(true, false, false)]
    [InlineData(true, false, true)]
    [InlineData(true, true, false)]
    [InlineData(true, true, true)]
    [InlineData(false, false, false)]
    [InlineData(false, true, true)]
    public async Task A_failure_leaves_no_bitmap_in_step_under_a_writable_image(
        bool readOnly, bool failsOn, bool losesAnswers)
    {
        var failures = 0;
        for (var write = 0; ; write++)
        {
            RecordingFile file = new();
            await using var node = await CreateAsync(file);
            await node.WriteAsync(3 * Granule, new byte[] { 1 }, cancellationToken: Token);
            if (!readOnly)
            {
                await node.SetReadOnlyAsync(true, Token);
            }

            (file.FailsOn, file.LosesAnswers) = (failsOn, losesAnswers);
            file.FailWriteIn = write;
            try
            {
                await node.SetReadOnlyAsync(readOnly, Token);
                file.FailWriteIn = -1;
                Assert.Equal(readOnly, node.IsReadOnly);
                break;
            }
            catch (BlockException)
            {
                failures++;
                file.FailWriteIn = -1;
            }

            if (!node.IsReadOnly)
            {
                await node.WriteAsync(9 * Granule, new byte[] { 1 }, cancellationToken: Token);
                Assert.Equal("b:inconsistent", await StateAsync(file.Content));
            }

            Assert.Equal(0, (await Qcow2Check.RunAsync(new RecordingFile(file.Content), Token)).Corruptions);
        }

        Assert.InRange(failures, 1, 1000);
    }

    [Fact]
    public async Task What_may_not_be_written_is_refused_and_stays_readable()
    {
        RecordingFile file = new();
        await (await CreateAsync(file)).DisposeAsync();
        await using RawNode below = new("below", file, readOnly: true);
        await using var node = await Qcow2Node.OpenAsync(
            "a", below, new Qcow2OpenOptions { ReadOnly = true }, Token);
        var error = await Assert.ThrowsAsync<Qcow2Exception>(() => node.SetReadOnlyAsync(false, Token).AsTask());
        Assert.Contains("its file node 'below'", error.Message, StringComparison.Ordinal);
        Assert.True(node.IsReadOnly);
        await node.ReadAsync(0, new byte[Granule], Token);
    }

    private static async Task<Qcow2Node> CreateAsync(RecordingFile file)
    {
        await Qcow2Image.CreateAsync(file, new Qcow2CreateOptions { Length = 1 << 20, ClusterSize = Granule }, Token);
        await using (var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token))
        {
            node.Bitmaps.Add(new DirtyBitmap("b", node.Length, Granule) { IsPersistent = true });
        }

        return await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);
    }

    // Of what a power failure would leave.
    private static async Task<string> StateAsync(byte[] content)
    {
        await using var node = await Qcow2Node.OpenAsync(
            "crashed", new RecordingFile(content), new Qcow2OpenOptions { ReadOnly = true }, Token);
        var bitmap = Assert.Single(node.Bitmaps);
        return $"{bitmap.Name}:{(bitmap.IsInconsistent ? "inconsistent" : bitmap.DirtyBytes.ToString())}";
    }
}
