using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Tidemark.Testing;

namespace Tidemark.Interop.Tests.Programs;

/// <summary>
/// An image behind an NBD server that writes down every request, nbdkit with its <c>log</c> filter: so a test knows
/// what a hypervisor read of it, whatever the hypervisor says.
/// </summary>
internal sealed partial class LoggedImage : IAsyncDisposable
{
    private readonly Process _server;
    private readonly string _log;

    private LoggedImage(Process server, string socket, string log)
    {
        _server = server;
        Socket = socket;
        _log = log;
    }

    public string Socket { get; }

    /// <summary>How long the log is; what is asked for later begins there.</summary>
    public long Position => File.Exists(_log) ? new FileInfo(_log).Length : 0;

    /// <param name="image">The image file.</param>
    /// <param name="folder">Socket and log lie here.</param>
    /// <param name="token">Gives up.</param>
    public static async Task<LoggedImage> ServeAsync(string image, string folder, CancellationToken token)
    {
        Directory.CreateDirectory(folder);
        var (socket, log) = (Path.Combine(folder, "image.sock"), Path.Combine(folder, "requests"));
        var server = BackgroundProgram.Start(
            "nbdkit", ["-f", "-U", socket, "--filter=log", "file", image, $"logfile={log}"]);
        var served = new LoggedImage(server, socket, log);
        while (!File.Exists(socket))
        {
            await Task.Delay(TimeSpan.FromMilliseconds(20), token);
        }

        return served;
    }

    /// <summary>Where an image file keeps each range of the guest's that is not zero, by granule of 64
    /// KiB.</summary>
    public static async Task<Dictionary<long, long>> MapAsync(string image)
    {
        const int Granule = 64 << 10;
        using var map = JsonDocument.Parse(await Tool.RunOkAsync("qemu-img", "map", "--output=json", image));
        var places = new Dictionary<long, long>();
        foreach (var extent in map.RootElement.EnumerateArray().Where(one => one.GetProperty("data").GetBoolean()))
        {
            var (start, length) = (extent.GetProperty("start").GetInt64(), extent.GetProperty("length").GetInt64());
            for (long done = 0; done < length; done += Granule)
            {
                places[(start + done) / Granule] = extent.GetProperty("offset").GetInt64() + done;
            }
        }

        return places;
    }

    /// <summary>The ranges of the file that were read since a position of the log.</summary>
    public List<(long Offset, long Length)> ReadsSince(long position)
    {
        using var stream = new FileStream(_log, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        stream.Position = position;
        using var reader = new StreamReader(stream);
        return
        [
            .. ReadLine().Matches(reader.ReadToEnd()).Select(match => (
                long.Parse(match.Groups[1].ValueSpan, NumberStyles.HexNumber, CultureInfo.InvariantCulture),
                long.Parse(match.Groups[2].ValueSpan, NumberStyles.HexNumber, CultureInfo.InvariantCulture))),
        ];
    }

    public async ValueTask DisposeAsync()
    {
        if (!_server.HasExited)
        {
            _server.Kill();
        }

        await _server.WaitForExitAsync();
        _server.Dispose();
    }

    [GeneratedRegex("Read id=[0-9]+ offset=0x([0-9a-f]+) count=0x([0-9a-f]+)")]
    private static partial Regex ReadLine();
}
