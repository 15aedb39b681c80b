namespace Tidemark.Fuzz.Targets;

/// <summary>Every target; a new one is one line.</summary>
internal static class FuzzTargets
{
    public static IReadOnlyList<IFuzzTarget> All { get; } =
    [
        new GraphTarget(),
        new NbdClientTarget(),
        new NbdServerTarget(),
        new NbdUriTarget(),
        new PskTarget(isServer: false),
        new PskTarget(isServer: true),
        new Qcow2Target(),
        new QmpTarget(),
        new XmlTarget(),
    ];
}
