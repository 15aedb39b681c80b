namespace Tidemark.Qcow2.Tests.Crash;

/// <summary>
/// Goes through a history and lets the power fail everywhere. At each event: what was flushed is there; of the writes
/// since, any subset, each torn at sectors, and any of the changes of length.
/// </summary>
/// <remarks>Where the subsets are few, all are tried. Subsets of what was there one event before were tried then, so
/// only those that hold a part of the newest event are new.</remarks>
internal static class CrashReplay
{
    private const int Sector = CrashHistory.Sector;

    /// <summary>Tries a history.</summary>
    /// <param name="history">The history.</param>
    /// <param name="judge">Judges each crash.</param>
    /// <param name="random">Samples.</param>
    /// <param name="exhaustiveParts">Up to so many parts in doubt, all subsets are tried.</param>
    /// <param name="samples">Otherwise so many.</param>
    /// <param name="every">Looks at one event of so many.</param>
    internal static async Task RunAsync(
        CrashHistory history, CrashJudge judge, Random random, int exhaustiveParts, int samples, int every = 1)
    {
        var events = history.Disk.Events;
        var durable = history.Disk.Initial;
        List<CrashEvent> doubt = [];
        await judge.CheckAsync(0, durable);
        for (var count = 0; count < events.Count; count++)
        {
            var change = events[count];
            if (change.Kind == FileEventKind.Flush)
            {
                var file = change.File;
                var content = durable[file];
                foreach (var part in doubt.Where(part => part.File == file))
                {
                    content = part.ApplyTo(content == durable[file] ? [.. content] : content);
                }

                durable = [.. durable.Select((old, index) => index == file ? content : old)];
                doubt.RemoveAll(part => part.File == file);
                continue;
            }

            var parts = Split(change).ToList();
            if (count % every == 0 || events.Count - count < 30)
            {
                await TryAsync(judge, random, count + 1, durable, doubt, parts, exhaustiveParts, samples);
            }

            doubt.AddRange(parts);
        }

        await judge.CheckAsync(events.Count, [.. history.Disk.Files.Select(file => file.Content)]);
    }

    private static async Task TryAsync(
        CrashJudge judge, Random random, int eventCount, byte[][] durable, List<CrashEvent> doubt,
        List<CrashEvent> newest, int exhaustiveParts, int samples)
    {
        CrashEvent[] all = [.. doubt, .. newest];
        if (all.Length <= exhaustiveParts)
        {
            for (var mask = 1L << doubt.Count; mask < 1L << all.Length; mask++)
            {
                if (mask >> doubt.Count != 0)
                {
                    await judge.CheckAsync(eventCount, Build(durable, all, index => (mask >> index & 1) != 0));
                }
            }

            return;
        }

        await judge.CheckAsync(eventCount, Build(durable, all, _ => true));
        for (var sample = 0; sample < samples; sample++)
        {
            // Few lost, few kept, or half.
            var share = random.Next(3) switch { 0 => 0.1, 1 => 0.5, _ => 0.9 };
            await judge.CheckAsync(eventCount, Build(durable, all, _ => random.NextDouble() < share));
        }
    }

    private static byte[][] Build(byte[][] durable, CrashEvent[] parts, Func<int, bool> isKept)
    {
        byte[][] contents = [.. durable.Select(content => (byte[])content.Clone())];
        for (var index = 0; index < parts.Length; index++)
        {
            if (isKept(index))
            {
                contents[parts[index].File] = parts[index].ApplyTo(contents[parts[index].File]);
            }
        }

        return contents;
    }

    private static IEnumerable<CrashEvent> Split(CrashEvent change)
    {
        if (change.Kind != FileEventKind.Write)
        {
            yield return change;
            yield break;
        }

        for (var part = 0; part < change.Data.Length;)
        {
            var length = (int)Math.Min(
                change.Data.Length - part, Sector - ((change.Offset + part) % Sector));
            yield return change with
            {
                Offset = change.Offset + part, Data = change.Data.AsSpan(part, length).ToArray(),
            };
            part += length;
        }
    }
}
