using Tidemark.Engine.Tests.Harness;
using Xunit;

namespace Tidemark.Engine.Tests;

/// <summary>The option <c>discard</c>: a guest's discard goes through a node that says <c>unmap</c>, and no other; what
/// is ignored marks no bitmap.</summary>
public sealed class DiscardTests
{
    [Theory]
    [InlineData("", false)]
    [InlineData(",'discard':'ignore'", false)]
    [InlineData(",'discard':'unmap'", true)]
    public async Task A_discard_has_an_effect_only_where_it_is_asked_for(string option, bool isThrough)
    {
        const int Length = 1 << 20;
        await using var scene = await EngineScene.StartAsync();
        await scene.AddImageAsync("made");
        await scene.RemoveImageAsync("made");
        await scene.DoAsync(
            "blockdev-add",
            $"{{'driver':'qcow2','node-name':'disk','file':{{'driver':'file','filename':'DIR/made'}}{option}}}");
        await scene.StartServerAsync();
        await scene.ExportAsync("disk", "guest", writable: true);
        await using var client = await scene.ClientAsync("guest");
        var written = new byte[Length];
        new Random(1).NextBytes(written);
        await client.WriteAsync(0, written, cancellationToken: TestContext.Current.CancellationToken);
        await scene.DoAsync("block-dirty-bitmap-add", "{'node':'disk','name':'since'}");

        await client.DiscardAsync(0, Length, TestContext.Current.CancellationToken);

        var bitmap = (await scene.NodeAsync("disk")).GetProperty("dirty-bitmaps")[0];
        Assert.Equal(isThrough ? Length : 0, bitmap.GetProperty("count").GetInt64());
        var read = new byte[Length];
        await client.ReadAsync(0, read, TestContext.Current.CancellationToken);
        Assert.Equal(isThrough ? new byte[Length] : written, read);
    }
}
