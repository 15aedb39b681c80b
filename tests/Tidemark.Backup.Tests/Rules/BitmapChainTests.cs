using Tidemark.Backup.Actions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Rules;
using static Tidemark.Backup.Tests.Rules.GraphBuilder;

namespace Tidemark.Backup.Tests.Rules;

public sealed class BitmapChainTests
{
    [Fact]
    public void A_bitmap_on_the_top_alone_is_valid()
    {
        var verdict = BitmapChain.Validate(Chain(Image("top", "base", Bitmap("a")), Image("base", null)), "a");
        Assert.True(verdict.IsValid);
        Assert.Equal(["top"], verdict.Layers.Select(layer => layer.Name));
    }

    [Fact]
    public void A_bitmap_on_contiguous_layers_is_valid_and_merged_top_first()
    {
        var chain = Chain(
            Image("top", "mid", Bitmap("a", granularity: 32768)), Image("mid", "base", Bitmap("a")), Image("base",
                null));
        Assert.Equal(["top", "mid"], BitmapChain.Validate(chain, "a").Layers.Select(layer => layer.Name));

        var actions = BitmapChain.Merge(chain, "a", "scratch", "temp");
        Assert.Equal(new BitmapAdd("scratch", "temp", Persistent: false, Disabled: true, 32768), actions[0]);
        var merge = Assert.IsType<BitmapMerge>(actions[1]);
        Assert.Equal([new BitmapReference("top", "a"), new BitmapReference("mid", "a")], merge.Sources);
    }

    [Theory]
    [InlineData("gap", "on node 'base' but not on 'mid'")]
    [InlineData("not-on-top", "on node 'mid' but not on 'top'")]
    [InlineData("absent", "is missing on node 'top'")]
    [InlineData("inconsistent", "is inconsistent")]
    [InlineData("disabled", "is not recording")]
    [InlineData("transient", "is not persistent")]
    [InlineData("lower-disabled", "on node 'mid' is not recording")]
    [InlineData("unknown-backing", "cannot be followed")]
    public void A_broken_chain_is_refused_and_merges_nothing(string what, string because)
    {
        var chain = what switch
        {
            "gap" => Chain(Image("top", "mid", Bitmap("a")), Image("mid", "base"), Image("base", null, Bitmap("a"))),
            "not-on-top" => Chain(Image("top", "mid"), Image("mid", null, Bitmap("a"))),
            "absent" => Chain(Image("top", null, Bitmap("b"))),
            "inconsistent" => Chain(Image("top", null, Bitmap("a", recording: false, inconsistent: true))),
            "disabled" => Chain(Image("top", null, Bitmap("a", recording: false))),
            "transient" => Chain(Image("top", null, Bitmap("a", persistent: false))),
            "lower-disabled" => Chain(Image("top", "mid", Bitmap("a")), Image("mid", null, Bitmap("a",
                recording: false))),
            _ => new NodeChain([Image("top", null, Bitmap("a"))], "nobody knows"),
        };
        var verdict = BitmapChain.Validate(chain, "a");
        Assert.False(verdict.IsValid);
        Assert.Contains(because, verdict.Reason, StringComparison.Ordinal);
        Assert.Empty(BitmapChain.Merge(chain, "a", "scratch", "temp"));
    }

    [Fact]
    public void Deletion_names_every_layer_whatever_its_flags()
    {
        var chain = Chain(
            Image("top", "mid", Bitmap("a", inconsistent: true)), Image("mid", "base"), Image("base", null,
                Bitmap("a")));
        Assert.Equal(
            [new BitmapReference("top", "a"), new BitmapReference("base", "a")], BitmapChain.Delete(chain, "a"));
    }

    [Fact]
    public void A_new_checkpoint_records_on_the_active_layer()
    {
        var chain = Chain(Image("top", "base"), Image("base", null));
        Assert.Equal(new BitmapAdd("top", "c", Persistent: true, Disabled: false, 65536), BitmapChain.Create(chain, "c",
            65536));
    }
}
