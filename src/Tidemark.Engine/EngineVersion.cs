using Tidemark.Qmp;

namespace Tidemark.Engine;

/// <summary>What the engine says it is.</summary>
internal static class EngineVersion
{
    /// <summary>The program's own version.</summary>
    internal const string Program = "0.1.0";

    /// <summary>The version that the greeting names: the QEMU whose commands and rules the engine follows.</summary>
    internal static QmpVersion Qmp { get; } = new(7, 2, 0, $"Tidemark {Program}");
}
