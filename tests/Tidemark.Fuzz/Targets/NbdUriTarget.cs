using System.Text;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Fuzz.Targets;

/// <summary>NBD URIs: what is read is written and read again as the same.</summary>
internal sealed class NbdUriTarget : IFuzzTarget
{
    public string Name => "nbd-uri";

    public string Description => "NBD URIs";

    public IReadOnlyList<string> Assemblies => ["Tidemark.Nbd"];

    public TimeSpan HangLimit => TimeSpan.FromSeconds(5);

    public long MemoryLimit => 64 << 20;

    public int MaximumInput => 4096;

    public IEnumerable<byte[]> Seeds() =>
        new[]
        {
            "nbd://localhost", "nbd://[::1]:10809/disk", "nbd+unix:///a%20b?socket=/run/x.sock",
            "nbds://host/x?tls-certificates=/etc/pki", "nbds+unix://user@/disk?socket=s",
        }.Select(Encoding.UTF8.GetBytes);

    public void Execute(ReadOnlySpan<byte> input)
    {
        NbdUri uri;
        try
        {
            uri = NbdUri.Parse(Encoding.UTF8.GetString(input));
        }
        catch (NbdException)
        {
            return;
        }

        if (NbdUri.Parse(uri.ToString()) != uri)
        {
            throw new InvalidOperationException($"'{uri}' is read back as another");
        }
    }
}
