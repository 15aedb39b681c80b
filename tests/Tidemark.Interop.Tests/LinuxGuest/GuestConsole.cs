using System.Globalization;

namespace Tidemark.Interop.Tests.LinuxGuest;

/// <summary>What a guest has said on its serial console, which the emulator appends to a file.</summary>
internal sealed class GuestConsole(string path)
{
    /// <summary>The number of the last complete line of this kind; 0 if there is none.</summary>
    /// <exception cref="InvalidOperationException">The guest has said that something failed.</exception>
    public int Last(string word)
    {
        var last = 0;
        foreach (var line in Lines())
        {
            if (line.StartsWith("FAILED ", StringComparison.Ordinal)
                || line.Contains("I/O error", StringComparison.Ordinal)
                || line.Contains("EXT4-fs error", StringComparison.Ordinal)
                || line.Contains("Kernel panic", StringComparison.Ordinal))
            {
                throw new InvalidOperationException($"the guest said: {line}");
            }

            if (line.StartsWith(word + " ", StringComparison.Ordinal)
                && int.TryParse(line.AsSpan(word.Length + 1), CultureInfo.InvariantCulture, out var number))
            {
                last = number;
            }
        }

        return last;
    }

    /// <summary>Waits until the number of a kind of line is this or more.</summary>
    public async Task UntilAsync(string word, int number, CancellationToken token)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(token);
        limit.CancelAfter(TimeSpan.FromMinutes(3));
        while (Last(word) < number)
        {
            try
            {
                await Task.Delay(TimeSpan.FromMilliseconds(50), limit.Token);
            }
            catch (OperationCanceledException)
            {
                var said = string.Join(" / ", Lines().TakeLast(5));
                throw new TimeoutException($"the guest did not come to {word} {number}; it said last: {said}");
            }
        }
    }

    // The last line may be half written.
    private string[] Lines()
    {
        if (!File.Exists(path))
        {
            return [];
        }

        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using var reader = new StreamReader(stream);
        return [.. reader.ReadToEnd().Split('\n').SkipLast(1).Select(line => line.TrimEnd('\r'))];
    }
}
