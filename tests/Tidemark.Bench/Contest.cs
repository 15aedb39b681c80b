using System.Diagnostics;

namespace Tidemark.Bench;

/// <summary>
/// The same work by several contestants, in turns: each repetition runs all of them, one after the other, and the next
/// one begins with another. So whatever else the machine does falls on all alike, and their ratio means something even
/// where the figures do not.
/// </summary>
internal sealed class Contest(string name, string unit, long bytes)
{
    private readonly List<Contestant> _contestants = [];

    public string Name => name;

    public void Add(Contestant contestant) => _contestants.Add(contestant);

    public void Add(string who, Func<Task> run, Func<Task>? prepare = null, params int[] daemons) =>
        Add(new Contestant(who, async () =>
        {
            await run();
            return null;
        })
        {
            Prepare = prepare ?? (() => Task.CompletedTask),
            Daemons = daemons,
        });

    public async Task<IReadOnlyList<Result>> RunAsync(int repetitions)
    {
        var figures = _contestants.ToDictionary(contestant => contestant.Who, _ => new List<double>());
        var processor = _contestants.ToDictionary(contestant => contestant.Who, _ => new List<double>());
        // Repetition 0 warms the caches and the just-in-time compilers of daemons, and does not count.
        for (var repetition = 0; repetition <= repetitions; repetition++)
        {
            for (var turn = 0; turn < _contestants.Count; turn++)
            {
                var contestant = _contestants[(turn + repetition) % _contestants.Count];
                await contestant.Prepare();
                var before = ProcessorTime.Of(contestant.Daemons);
                var clock = Stopwatch.StartNew();
                var own = await contestant.Run();
                var seconds = clock.Elapsed.TotalSeconds;
                var used = ProcessorTime.Of(contestant.Daemons) - before;
                Console.Error.WriteLine(
                    $"  {name}: {contestant.Who}: {own ?? seconds:0.###} {unit}, cpu {used:0.00} s");
                if (repetition > 0)
                {
                    figures[contestant.Who].Add(own ?? seconds);
                    processor[contestant.Who].Add(used);
                }
            }
        }

        return
        [
            .. _contestants.Select(contestant => new Result(
                name, contestant.Who, unit, figures[contestant.Who], processor[contestant.Who], bytes)),
        ];
    }
}
