using Xunit;

namespace Tidemark.Qcow2.Tests;

public sealed class ReadWriteTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(512)]
    [InlineData(4096)]
    [InlineData(65536)]
    [InlineData(2097152)]
    public async Task WhatWasWrittenIsReadAfterReopening(int clusterSize)
    {
        RecordingFile file = new();
        await Qcow2Image.CreateAsync(file, new Qcow2CreateOptions { Length = 3_000_000, ClusterSize = clusterSize },
            Token);
        var data = new byte[1_500_000];
        new Random(1).NextBytes(data);
        await using (var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token))
        {
            Assert.Equal(3_000_000, node.Length);
            await node.WriteAsync(700_001, data, cancellationToken: Token);
            var read = new byte[data.Length];
            await node.ReadAsync(700_001, read, Token);
            Assert.Equal(data, read);
        }

        await using var again = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions { ReadOnly = true }, Token);
        var all = new byte[3_000_000];
        await again.ReadAsync(0, all, Token);
        var expected = new byte[3_000_000];
        data.CopyTo(expected, 700_001);
        Assert.Equal(expected, all);
    }
}
