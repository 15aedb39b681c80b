using System.CommandLine;
using System.CommandLine.Parsing;

namespace Tidemark.Cli.Commands;

/// <summary>What is wrong with a command line, in words that name the option or the verb.</summary>
/// <remarks>The parser takes an option that a verb does not have for the verb's argument, and complains of what stands
/// behind it: <c>check -T none disk</c> would be the file "-T" and two words too many. What begins with a dash is
/// looked for first, and is then the one error that is told; the others only follow from it.</remarks>
internal static class CommandLineErrors
{
    /// <summary>The errors, one a line; none when the line can be run.</summary>
    public static IReadOnlyList<string> Of(ParseResult parsed)
    {
        if (parsed.Action is { ClearsParseErrors: true })
        {
            return [];
        }

        if (UnknownOption(parsed) is { } option)
        {
            return [$"Unrecognized or unsupported option '{option}'; put '--' before names if it is one"];
        }

        return UnknownVerb(parsed) is { } verb
            ? [$"There is no verb '{verb}'"]
            : [.. parsed.Errors.Select(Describe).Distinct()];
    }

    // "-" alone is a name, and "-1G" a size.
    private static bool LooksLikeOption(string word) => word is ['-', not (>= '0' and <= '9'), ..];

    private static string? UnknownOption(ParseResult parsed) =>
        parsed.Tokens.Any(token => token.Type == TokenType.DoubleDash)
            ? null
            : parsed.CommandResult.Children.OfType<ArgumentResult>()
                .SelectMany(argument => argument.Tokens)
                .Select(token => token.Value)
                .Concat(parsed.UnmatchedTokens)
                .FirstOrDefault(LooksLikeOption);

    private static string? UnknownVerb(ParseResult parsed) =>
        parsed.CommandResult.Command.Subcommands.Any() && parsed.UnmatchedTokens is [var verb, ..] ? verb : null;

    private static string Describe(ParseError error)
    {
        // The parser lists possible values on lines of their own, and names no option with them; a number, which is
        // the only thing that it can fail to parse here, it calls by the name of its type.
        var message = string.Join(' ', error.Message.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        message = message.IndexOf(" as expected type '", StringComparison.Ordinal) is >= 0 and var end
            ? message[..end] + " as a number"
            : message;
        var option = error.SymbolResult as OptionResult ?? error.SymbolResult?.Parent as OptionResult;
        var name = option?.IdentifierToken?.Value ?? option?.Option.Name;
        return name is null || message.Contains($"'{name}'", StringComparison.Ordinal) ? message : $"{name}: {message}";
    }
}
