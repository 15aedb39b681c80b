using Tidemark.Blocks.Extents;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Fuzz.Targets;

/// <summary>
/// The NBD client under a server that answers anything: connects, and if that works, reads, writes and asks for
/// status. Whatever the server says, a call ends with a result or an <see cref="NbdException"/>.
/// </summary>
internal sealed class NbdClientTarget : IFuzzTarget
{
    private static readonly NbdClientOptions s_options = new()
    {
        ExportName = "vda",
        MetaContexts = ["base:allocation"],
        MaximumRequests = 4,
        CloseTimeout = TimeSpan.FromMilliseconds(1),
    };

    private readonly byte[] _buffer = new byte[4096];

    public string Name => "nbd-client";

    public string Description => "the NBD client, handshake and transmission";

    public IReadOnlyList<string> Assemblies => ["Tidemark.Nbd"];

    public TimeSpan HangLimit => TimeSpan.FromSeconds(20);

    public long MemoryLimit => 256 << 20;

    public int MaximumInput => 2048;

    public IEnumerable<byte[]> Seeds()
    {
        yield return new byte[256];
        yield return Enumerable.Repeat((byte)1, 512).ToArray();
        yield return [0, 250, 3, 0, 1, 0, 1, 0, 1, 0, .. new byte[64]];
        yield return [0, 250, 250, 250, 0, 1, 0, .. new byte[64]];
    }

    public void Execute(ReadOnlySpan<byte> input) => RunAsync(input.ToArray()).GetAwaiter().GetResult();

    private async Task RunAsync(byte[] input)
    {
        try
        {
            await using var client = await NbdClient
                .ConnectAsync(new FuzzPeerServer(input), input.Length % 7 == 0
                    ? s_options with { UseExtendedHeaders = false }
                    : s_options)
                .ConfigureAwait(false);
            var extents = new ExtentList();
            for (var step = 0; step < 8; step++)
            {
                await StepAsync(client, step, extents).ConfigureAwait(false);
            }
        }
        catch (NbdException)
        {
        }
    }

    private async Task StepAsync(NbdClient client, int step, ExtentList extents)
    {
        if (client.Length < 8192)
        {
            return;
        }

        switch (step & 3)
        {
            case 0:
                await client.ReadAsync(4096, _buffer).ConfigureAwait(false);
                break;
            case 1 when client.MetaContexts.Count > 0:
                await client.GetExtentsAsync("base:allocation", 0, 8192, extents).ConfigureAwait(false);
                break;
            case 2 when !client.IsReadOnly:
                await client.WriteAsync(0, _buffer).ConfigureAwait(false);
                break;
            default:
                await client.ReadAsync(0, _buffer.AsMemory(0, 512)).ConfigureAwait(false);
                break;
        }
    }
}
