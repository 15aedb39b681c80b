using Tidemark.Testing;

namespace Tidemark.Blocks.Tests.Filters;

/// <summary>
/// The frozen view under random interleavings. A failure names the seed, which plays the same run again.
/// </summary>
public sealed class FrozenViewTests
{
    private const int FewInterleavings = 1_000;
    private const int ManyInterleavings = 100_000;

    [Theory]
    [InlineData(FrozenViewShape.SnapshotAccess)]
    [InlineData(FrozenViewShape.Overlay)]
    public void A_read_of_the_view_gives_the_bytes_of_t0_or_an_error(FrozenViewShape shape) =>
        Play(shape, FewInterleavings);

    [Theory]
    [Trait("Category", "Long")]
    [InlineData(FrozenViewShape.SnapshotAccess)]
    [InlineData(FrozenViewShape.Overlay)]
    public void A_hundred_thousand_interleavings_keep_the_view(FrozenViewShape shape) =>
        Play(shape, ManyInterleavings);

    // Each on a thread of its own: no context and no scheduler to go back to, so whoever is woken goes on at once, on
    // this thread, and a seed replays. One run knows nothing of another, so every processor plays its share of them.
    private static void Play(FrozenViewShape shape, int count)
    {
        var first = TestSeed.Next();
        var shares = Environment.ProcessorCount;
        var failures = new Exception?[shares];
        var threads = Enumerable.Range(0, shares).Select(share => new Thread(() =>
            failures[share] = Record.Exception(() =>
            {
                for (var index = share; index < count; index += shares)
                {
                    TestSeed.Run(random => PlayOne(shape, random.Next()), unchecked(first + index));
                }
            }))).ToList();
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());
        Assert.Null(Array.Find(failures, failure => failure is not null));
    }

    private static void PlayOne(FrozenViewShape shape, int seed)
    {
        var world = new FrozenViewWorld(shape, seed);
        world.Run();
        var disposing = world.DisposeAsync().AsTask();
        Assert.True(disposing.IsCompletedSuccessfully, "something of the world was still under way at its end");
    }
}
