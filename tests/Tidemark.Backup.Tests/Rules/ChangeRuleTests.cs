using Tidemark.Backup.Actions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Rules;
using static Tidemark.Backup.Tests.Rules.GraphBuilder;

namespace Tidemark.Backup.Tests.Rules;

public sealed class ChangeRuleTests
{
    private static readonly GraphNode s_raw = new() { Name = "raw", Driver = "raw", VirtualSize = Size };

    [Fact]
    public void Into_a_raw_base_the_bits_go_to_the_active_layer()
    {
        var chain = Chain(
            Image("top", "mid", Bitmap("young"), Bitmap("c")), Image("mid", "low", Bitmap("c")),
            Image("low", "raw", Bitmap("c")), s_raw);
        var merge = Assert.IsType<BitmapMerge>(Assert.Single(ChangeRule.Commit(chain, top: 1, bottom: 3)));
        Assert.Equal(("top", "c"), (merge.Node, merge.Target));
        Assert.Equal(
            [new BitmapReference("top", "c"), new BitmapReference("mid", "c"), new BitmapReference("low", "c")],
            merge.Sources);

        // R3 moves nothing, and R1 would believe what is left.
        Assert.Empty(BitmapChain.Commit(chain, "mid", "raw"));
        Assert.True(BitmapChain.Validate(Chain(chain.Layers[0], s_raw), "c").IsValid);
        Assert.Empty(ChangeRule.Commit(chain, top: 0, bottom: 3));
        Assert.Equal(["young", "c"], ChangeRule.EndingAt(chain, s_raw));
        Assert.Empty(ChangeRule.EndingAt(chain, chain.Layers[2]));
    }

    [Fact]
    public void Into_a_version_2_image_as_into_a_raw_one_and_else_as_R3()
    {
        var old = Image("old", null) with { Compat = "0.10" };
        var chain = Chain(Image("top", "mid", Bitmap("c")), Image("mid", "old", Bitmap("c")), old);
        Assert.Equal("top", Assert.IsType<BitmapMerge>(Assert.Single(ChangeRule.Commit(chain, 1, 2))).Node);
        var good = Chain(chain.Layers[0], Image("mid", "base", Bitmap("c")), Image("base", null));
        Assert.Equal(BitmapChain.Commit(good, "mid", "base"), ChangeRule.Commit(good, 1, 2), Same);
    }

    /// <summary>A disk that grew after a snapshot: no hypervisor merges its bitmaps.</summary>
    [Fact]
    public void What_cannot_be_merged_for_its_size_is_found()
    {
        var grown = Image("top", "low", Bitmap("c"), Bitmap("new")) with { VirtualSize = Size * 2 };
        var chain = Chain(grown, Image("low", "base", Bitmap("c")), Image("base", null));
        Assert.Equal(
            "c", ChangeRule.OfOtherSize(chain, ChangeRule.Commit(chain, top: 0, bottom: 2), grown.VirtualSize));
        Assert.Equal("c", ChangeRule.OfOtherSize(chain, BitmapChain.Stream(chain, "top", null), grown.VirtualSize));
        var alone = Chain(grown with { Bitmaps = [Bitmap("new")] }, Image("low", "base"), Image("base", null));
        Assert.Null(ChangeRule.OfOtherSize(alone, ChangeRule.Commit(alone, top: 0, bottom: 2), grown.VirtualSize));
        var same = Chain(Image("top", "low", Bitmap("c")), Image("low", null, Bitmap("c")));
        Assert.Null(ChangeRule.OfOtherSize(same, ChangeRule.Commit(same, top: 0, bottom: 1), Size));
    }

    [Theory]
    [InlineData("gap", true, true)]
    [InlineData("disabled", true, true)]
    [InlineData("base-has-it", false, true)]
    [InlineData("valid", false, false)]
    [InlineData("top-disabled", false, false)]
    public void What_would_come_to_look_valid_is_found(string what, bool commit, bool stream)
    {
        var chain = Chain(
            Image("top", "mid", Bitmap("c", recording: what != "top-disabled")),
            what switch
            {
                "gap" or "base-has-it" => Image("mid", "low"),
                _ => Image("mid", "low", Bitmap("c", recording: what != "disabled")),
            },
            Image("low", "base", Bitmap("c")),
            what == "base-has-it" ? Image("base", null, Bitmap("c")) : Image("base", null));
        Assert.Equal(
            commit ? "c" : null,
            ChangeRule.FalselyTrustedAfterCommit(chain, 1, 3, ChangeRule.Commit(chain, 1, 3)));
        Assert.Equal(stream ? "c" : null, ChangeRule.FalselyTrustedAfterStream(chain, 4));
    }

    private static bool Same(TransactionAction a, TransactionAction b) =>
        a.ToJson().ToJsonString() == b.ToJson().ToJsonString();
}
