using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Rules;
using static Tidemark.Backup.Tests.Rules.GraphBuilder;

namespace Tidemark.Backup.Tests.Rules;

public sealed class KindRuleTests
{
    private static readonly ParentDisk s_parent = new()
    {
        SnapshotId = "0123456789abcdef",
        Size = Size,
        ChunkSize = 1 << 20,
        BitmapName = "tidemark-1111111111111111",
        Granularity = 65536,
    };

    [Fact]
    public void The_bitmap_of_the_parent_makes_an_increment()
    {
        var decision = KindRule.Decide(false, Chain(Image("top", null, Bitmap(s_parent.BitmapName!))), s_parent);
        Assert.Equal(new KindDecision(DiskKind.Incremental, ""), decision);
    }

    [Fact]
    public void Without_a_parent_or_on_request_the_disk_is_read_in_full()
    {
        var chain = Chain(Image("top", null, Bitmap(s_parent.BitmapName!)));
        Assert.Equal(DiskKind.Full, KindRule.Decide(false, chain, null).Kind);
        Assert.Equal(DiskKind.Full, KindRule.Decide(true, chain, s_parent).Kind);
    }

    /// <summary>Each of these would lose writes if it were read as an increment.</summary>
    [Theory]
    [InlineData("other-run", "is missing")]
    [InlineData("other-disk-of-the-run", "is missing")]
    [InlineData("inconsistent", "inconsistent")]
    [InlineData("disabled", "not recording")]
    [InlineData("transient", "not persistent")]
    [InlineData("busy", "in use")]
    [InlineData("granularity", "granularity")]
    [InlineData("size", "size changed")]
    [InlineData("layer-size", "another size")]
    [InlineData("raw", "cannot keep a dirty bitmap")]
    [InlineData("no-bitmap-made", "left no bitmap")]
    [InlineData("chunk-size", "no multiple")]
    public void Whatever_cannot_be_proved_is_read_again(string what, string because)
    {
        var name = s_parent.BitmapName!;
        var (chain, parent) = what switch
        {
            "other-run" => (Chain(Image("top", null, Bitmap("tidemark-2222222222222222"))), s_parent),
            "other-disk-of-the-run" => (Chain(Image("top", null, Bitmap(name + ".1"))), s_parent),
            "inconsistent" => (Chain(Image("top", null, Bitmap(name, inconsistent: true))), s_parent),
            "disabled" => (Chain(Image("top", null, Bitmap(name, recording: false))), s_parent),
            "transient" => (Chain(Image("top", null, Bitmap(name, persistent: false))), s_parent),
            "busy" => (Chain(Image("top", null, Bitmap(name, busy: true))), s_parent),
            "granularity" => (Chain(Image("top", null, Bitmap(name, granularity: 4096))), s_parent),
            "size" => (Chain(Image("top", null, Bitmap(name))), s_parent with { Size = Size / 2 }),
            "layer-size" => (Chain(
                Image("top", "base", Bitmap(name)), Image("base", null, Bitmap(name)) with { VirtualSize = Size / 2 }),
                    s_parent),
            "raw" => (Chain(new GraphNode { Name = "r", Driver = "raw", VirtualSize = Size }),
                s_parent with { BitmapName = null }),
            "no-bitmap-made" => (Chain(Image("top", null)), s_parent with { BitmapName = null }),
            _ => (Chain(Image("top", null, Bitmap(name))), s_parent with { ChunkSize = 4096 }),
        };
        var decision = KindRule.Decide(false, chain, parent);
        Assert.Equal(DiskKind.ReRead, decision.Kind);
        Assert.Contains(because, decision.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void Only_writable_qcow2_version_3_keeps_a_checkpoint()
    {
        Assert.Null(KindRule.RefuseCheckpoint(Image("a", null)));
        Assert.NotNull(KindRule.RefuseCheckpoint(Image("a", null) with { Compat = "0.10" }));
        Assert.NotNull(KindRule.RefuseCheckpoint(Image("a", null) with { IsReadOnly = true }));
        Assert.NotNull(KindRule.RefuseCheckpoint(Image("a", null) with { Driver = "raw" }));
    }
}
