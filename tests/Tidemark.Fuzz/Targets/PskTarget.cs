using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Tls;

namespace Tidemark.Fuzz.Targets;

/// <summary>
/// TLS with shared keys, one side of it, under a peer that says anything: from its first message to what comes when the
/// handshake is done. The first byte decides whether the rest is what is said, or changes what was said once.
/// </summary>
/// <param name="isServer">Whether the server is tried, or the client.</param>
internal sealed class PskTarget(bool isServer) : IFuzzTarget
{
    /// <summary>From this value of the first byte on, keys are of finite fields: rarely, for they take long.</summary>
    private const byte FiniteFields = 252;

    private readonly Lazy<PskFile> _keys = new(PskRecording.Keys);
    private readonly byte[]?[] _said = new byte[]?[2];

    public string Name => isServer ? "psk-server" : "psk-client";

    public string Description =>
        $"the {(isServer ? "server" : "client")}'s TLS with shared keys, handshake and records";

    public IReadOnlyList<string> Assemblies => ["Tidemark.Nbd", "BouncyCastle.Cryptography"];

    public TimeSpan HangLimit => TimeSpan.FromSeconds(20);

    public long MemoryLimit => 256 << 20;

    public long AllocationLimit => 64 << 20;

    public int MaximumInput => 8 << 10;

    public long Cost { get; private set; }

    // What is fuzzed is how messages are read; the arithmetic has no branches that bytes decide.
    public bool IsInstrumented(string type) => !type.StartsWith("Org.BouncyCastle.", StringComparison.Ordinal)
        || (type.StartsWith("Org.BouncyCastle.Tls.", StringComparison.Ordinal)
            && !type.StartsWith("Org.BouncyCastle.Tls.Crypto.", StringComparison.Ordinal));

    public IEnumerable<byte[]> Seeds()
    {
        yield return [0, .. Said(finiteFields: false)];
        yield return [1];
        yield return [FiniteFields, .. Said(finiteFields: true)];
        yield return [FiniteFields + 1];
        for (byte edit = 0; edit < 10; edit++)
        {
            yield return [1, 0, edit, 3, 16, 1, 2, 3, 4];
            yield return [1, 1, edit, 9, 8, 1, 2, 3, 4];
            yield return [1, 2, edit, 5, 4, 1, 2, 3, 4];
        }
    }

    public void Execute(ReadOnlySpan<byte> input)
    {
        var finiteFields = !input.IsEmpty && input[0] >= FiniteFields;
        byte[] said = input.IsEmpty ? []
            : (input[0] & 1) == 0 ? input[1..].ToArray()
            : TlsEdits.Apply(Said(finiteFields), input[1..]);
        var before = GC.GetAllocatedBytesForCurrentThread();
        using var script = new ScriptTransport(said);
        try
        {
            if (isServer)
            {
                PskRecording.Serve(script, _keys.Value, finiteFields);
            }
            else
            {
                PskRecording.Call(script, finiteFields);
            }
        }
        catch (Exception exception) when (exception is NbdException or IOException)
        {
            // What the transport documents for a peer that breaks the rules, or leaves.
        }

        // The arithmetic of long keys makes garbage in proportion to its time.
        Cost = (GC.GetAllocatedBytesForCurrentThread() - before) >> 14;
    }

    // What the other side said.
    private byte[] Said(bool finiteFields)
    {
        ref var said = ref _said[finiteFields ? 1 : 0];
        if (said is null)
        {
            var (client, server) = PskRecording.Record(_keys.Value, finiteFields);
            said = isServer ? client : server;
        }

        return said;
    }
}
