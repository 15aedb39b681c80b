namespace Tidemark.Cli.Terminal;

/// <summary>How text is set off: with ANSI sequences on a terminal, not at all elsewhere.</summary>
internal sealed class Style
{
    private readonly bool _ansi;

    private Style(bool ansi) => _ansi = ansi;

    /// <summary>Leaves text as it is.</summary>
    public static Style Plain { get; } = new(ansi: false);

    /// <summary>Uses ANSI sequences.</summary>
    public static Style Ansi { get; } = new(ansi: true);

    /// <summary>A heading.</summary>
    public string Bold(string text) => Wrap("1", text);

    /// <summary>What matters less.</summary>
    public string Dim(string text) => Wrap("2", text);

    /// <summary>What went well.</summary>
    public string Good(string text) => Wrap("32", text);

    /// <summary>What went wrong.</summary>
    public string Bad(string text) => Wrap("31", text);

    private string Wrap(string code, string text) => _ansi ? $"\u001b[{code}m{text}\u001b[0m" : text;
}
