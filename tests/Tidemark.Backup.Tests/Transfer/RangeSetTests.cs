using Tidemark.Backup.Transfer;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Transfer;

public sealed class RangeSetTests
{
    [Fact]
    public void It_is_what_a_row_of_flags_is() => TestSeed.Run(random =>
    {
        for (var round = 0; round < 300; round++)
        {
            var length = random.Next(1, 60);
            var flags = new bool[length];
            var set = new RangeSet();
            for (var step = 0; step < 20; step++)
            {
                var start = random.Next(length);
                var end = random.Next(start + 1, length + 1);
                var added = 0;
                for (var at = start; at < end; at++)
                {
                    added += flags[at] ? 0 : 1;
                    flags[at] = true;
                }

                Assert.Equal(added, set.Add(start, end));
                Assert.Equal(flags.Count(flag => flag), set.Length);
                var seen = new bool[length];
                foreach (var (from, to) in set.Ranges)
                {
                    seen.AsSpan(from, to - from).Fill(true);
                }

                Assert.Equal(flags, seen);
            }
        }
    });
}
