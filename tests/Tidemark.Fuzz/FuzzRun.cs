using System.Diagnostics;
using System.Security.Cryptography;

namespace Tidemark.Fuzz;

/// <summary>
/// The search: takes an input that is there, changes it, runs it, and keeps it when it reached something new. Ends at
/// the first finding, or after the executions asked for.
/// </summary>
/// <param name="target">What is fuzzed.</param>
/// <param name="options">How.</param>
/// <param name="output">Where reports and findings are told; the console if null.</param>
/// <param name="end">Ends a process one of whose threads does not end; kills it if null.</param>
internal sealed class FuzzRun(
    IFuzzTarget target, FuzzOptions options, TextWriter? output = null, Action? end = null)
{
    private const int MaximumCorpus = 4096;
    private const int MemoryInterval = 4096;

    // What it compiles meanwhile, garbage that is not collected yet, and the native memory of libraries.
    private const long OutsideTheHeap = 640L << 20;
    private static readonly TimeSpan s_reportInterval = TimeSpan.FromSeconds(10);

    private readonly TextWriter _output = output ?? Console.Out;
    private readonly Action _end = end ?? Process.GetCurrentProcess().Kill;
    private readonly List<(byte[] Input, long Cost)> _corpus = [];
    private readonly Coverage _coverage = new();
    // What is resident already is not the search's: in a test's process that of the tests before it.
    private readonly long _residentLimit = Environment.WorkingSet + target.MemoryLimit + OutsideTheHeap;
    private readonly Stopwatch _time = Stopwatch.StartNew();
    private long _executions;
    private long _largestHeap;
    private long _largestResident;
    private long _largestAllocation;

    /// <summary>Runs; returns the exit code: 0 nothing found, 1 a finding.</summary>
    public int Run()
    {
        _output.WriteLine($"{target.Name}: {options.Executions:N0} executions, --seed {options.Seed}");
        using var watch = new HangWatch(target.HangLimit, OnHang);
        var random = new Random((int)(options.Seed ^ (options.Seed >> 32)));
        var mutator = new Mutator(random, target.MaximumInput);
        foreach (var seed in target.Seeds())
        {
            if (!Try(seed, watch, out _))
            {
                return 1;
            }

            _corpus.Add((seed, target.Cost));
        }

        if (_corpus.Count == 0)
        {
            _corpus.Add(([], 0));
        }

        var report = _time.Elapsed + s_reportInterval;
        while (_executions < options.Executions)
        {
            var input = mutator.Mutate(Pick(random), _corpus[random.Next(_corpus.Count)].Input);
            if (!Try(input, watch, out var found))
            {
                return 1;
            }

            if (found)
            {
                Keep(input, random);
            }

            if (_time.Elapsed > report)
            {
                report += s_reportInterval;
                Report();
            }
        }

        Report();
        return 0;
    }

    // One of all, or, mostly, the cheaper one of two: what is dear is tried, but does not take the time of the rest.
    private byte[] Pick(Random random)
    {
        var first = _corpus[random.Next(_corpus.Count)];
        var second = _corpus[random.Next(_corpus.Count)];
        return random.Next(8) == 0 || first.Cost <= second.Cost ? first.Input : second.Input;
    }

    private void Keep(byte[] input, Random random)
    {
        if (_corpus.Count < MaximumCorpus)
        {
            _corpus.Add((input, target.Cost));
        }
        else
        {
            _corpus[random.Next(MaximumCorpus)] = (input, target.Cost);
        }
    }

    private bool Try(byte[] input, HangWatch watch, out bool found)
    {
        found = false;
        _executions++;
        _coverage.Begin();
        watch.Begin(input);
        var allocated = GC.GetTotalAllocatedBytes();
        try
        {
            target.Execute(input);
        }
        catch (Exception exception)
        {
            watch.End();
            Found(input, exception.ToString());
            return false;
        }

        watch.End();
        found = _coverage.End();
        return IsAllocationBounded(input, GC.GetTotalAllocatedBytes() - allocated)
            && (_executions % MemoryInterval != 0 || IsMemoryBounded(input));
    }

    // By all threads: what an execution's helpers allocate counts too. The watch's and the console's is too little to
    // matter.
    private bool IsAllocationBounded(byte[] input, long allocated)
    {
        _largestAllocation = Math.Max(_largestAllocation, allocated);
        if (allocated <= target.AllocationLimit)
        {
            return true;
        }

        Found(input, $"{allocated:N0} bytes were allocated; the limit is {target.AllocationLimit:N0}");
        return false;
    }

    private bool IsMemoryBounded(byte[] input)
    {
        var heap = GC.GetTotalMemory(forceFullCollection: false);
        if (heap > target.MemoryLimit)
        {
            heap = GC.GetTotalMemory(forceFullCollection: true);
        }

        _largestHeap = Math.Max(_largestHeap, heap);
        if (heap > target.MemoryLimit)
        {
            Found(input, $"the heap holds {heap:N0} bytes after a collection; the limit is {target.MemoryLimit:N0}");
            return false;
        }

        // What is not on the managed heap, as well.
        var resident = Environment.WorkingSet;
        _largestResident = Math.Max(_largestResident, resident);
        if (resident > _residentLimit)
        {
            Found(input, $"{resident:N0} bytes are resident; the limit is {_residentLimit:N0}");
            return false;
        }

        return true;
    }

    private void Report() => _output.WriteLine(
        $"{target.Name}: {_executions:N0} executions in {_time.Elapsed.TotalSeconds:F0} s, "
        + $"{_executions / Math.Max(_time.Elapsed.TotalSeconds, 0.001):N0} a second; {_coverage.Seen:N0} edges, "
        + $"{_corpus.Count:N0} inputs kept; largest heap {_largestHeap >> 20} MiB, "
        + $"resident {_largestResident >> 20} MiB, "
        + $"allocated by one execution {_largestAllocation >> 10:N0} KiB");

    private void OnHang(byte[] input)
    {
        Found(input, $"no end within {target.HangLimit.TotalSeconds} s");
        _end();
    }

    private void Found(byte[] input, string what)
    {
        var folder = Path.Combine(options.Findings, target.Name);
        Directory.CreateDirectory(folder);
        var path = Path.Combine(folder, Convert.ToHexStringLower(SHA256.HashData(input))[..16]);
        File.WriteAllBytes(path, input);
        _output.WriteLine($"FOUND after {_executions:N0} executions with --seed {options.Seed}: {what}");
        _output.WriteLine($"again: ./fuzz {target.Name} --replay {path}");
        _output.Flush();
    }
}
