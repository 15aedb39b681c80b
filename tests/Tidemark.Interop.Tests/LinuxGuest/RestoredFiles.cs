using System.Text;
using Tidemark.Testing;

namespace Tidemark.Interop.Tests.LinuxGuest;

/// <summary>Judges a restored disk with ext4's own tools: replays its journal, checks it, reads it.</summary>
internal static class RestoredFiles
{
    // The guest deletes file N - 120 after file N; its console may lag behind by a few files, never by half of that.
    private const int KeptFiles = 60;

    /// <summary>Checks that the file system is sound and holds all that was durable.</summary>
    /// <param name="image">The restored disk, raw; its journal is replayed.</param>
    /// <param name="folder">Where the files may be unpacked.</param>
    /// <param name="point">The instant.</param>
    /// <exception cref="InvalidDataException">It is not so.</exception>
    public static async Task CheckAsync(string image, string folder, GuestPoint point)
    {
        var (before, after) = (point.Before, point.After);
        await Tool.RunOkAsync("e2fsck", "-E", "journal_only", "-y", image);
        var check = await Tool.RunAsync("e2fsck", ["-f", "-n", image]);
        if (check.ExitCode != 0)
        {
            throw new InvalidDataException($"e2fsck found fault (exit code {check.ExitCode}): {check.Output}");
        }

        Directory.CreateDirectory(folder);
        for (var index = 0; index < 7; index++)
        {
            await Tool.RunAsync("debugfs", ["-R", $"rdump /d{index} {folder}", image]);
        }

        await Tool.RunAsync("debugfs", ["-R", $"dump /log {Path.Combine(folder, "log")}", image]);
        for (var number = Math.Max(1, after - KeptFiles); number <= before; number++)
        {
            var path = Path.Combine(folder, $"d{number % 7}", $"f{number}");
            if (!File.Exists(path))
            {
                throw new InvalidDataException($"file {number} is missing; durable before the instant: {before}");
            }

            if (await File.ReadAllTextAsync(path) != ContentOf(number))
            {
                throw new InvalidDataException($"file {number} has another content than the guest wrote and fsynced");
            }
        }

        var log = await File.ReadAllLinesAsync(Path.Combine(folder, "log"));
        if (log.Length < point.Logged || log.Length > point.Begun
            || log.Where((line, index) => line != $"{index + 1}").Any())
        {
            throw new InvalidDataException(
                $"the log has {log.Length} lines, or gaps; it must have {point.Logged} to {point.Begun}");
        }
    }

    private static string ContentOf(int number)
    {
        var lines = (number % 40) + 1;
        var text = new StringBuilder();
        for (var index = 0; index < lines; index++)
        {
            text.Append(System.Globalization.CultureInfo.InvariantCulture, $"file {number} line {index} of {lines} ")
                .Append('.', 64).Append('\n');
        }

        return text.ToString();
    }
}
