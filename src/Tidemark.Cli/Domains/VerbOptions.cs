using System.CommandLine;

namespace Tidemark.Cli.Domains;

/// <summary>The kinds of options that several verbs of a domain have.</summary>
internal static class VerbOptions
{
    /// <summary>Adds an option that is there or not.</summary>
    public static Option<bool> AddFlag(this Command command, string name, string description)
    {
        var option = new Option<bool>(name) { Description = description };
        command.Add(option);
        return option;
    }

    /// <summary>Adds an option with a text.</summary>
    public static Option<string?> AddText(this Command command, string name, string help, string description)
    {
        var option = new Option<string?>(name) { Description = description, HelpName = help };
        command.Add(option);
        return option;
    }

    /// <summary>Adds an option that may be repeated.</summary>
    public static Option<string[]> AddTexts(this Command command, string name, string help, string description)
    {
        var option = new Option<string[]>(name) { Description = description, HelpName = help };
        command.Add(option);
        return option;
    }

    /// <summary>Adds a value that is given as an argument or, as virsh takes it too, as an option.</summary>
    /// <param name="command">The verb.</param>
    /// <param name="name">The argument's name.</param>
    /// <param name="option">The option's name.</param>
    /// <param name="help">What stands for the option's value.</param>
    /// <param name="description">What the value is.</param>
    /// <returns>Reads it; null when it was not given.</returns>
    public static Func<ParseResult, string?> AddEither(
        this Command command, string name, string option, string help, string description) =>
        Add(command, name, option, help, description, isRequired: false);

    /// <summary>As <see cref="AddEither"/>, of a value that must be there.</summary>
    public static Func<ParseResult, string> AddRequiredEither(
        this Command command, string name, string option, string help, string description)
    {
        var read = Add(command, name, option, help, description, isRequired: true);
        return parsed => read(parsed)!;
    }

    private static Func<ParseResult, string?> Add(
        Command command, string name, string option, string help, string description, bool isRequired)
    {
        var argument = new Argument<string?>(name)
        {
            Description = description,
            Arity = ArgumentArity.ZeroOrOne,
        };
        command.Add(argument);
        var same = command.AddText(option, help, $"The same as {name}.");
        command.Validators.Add(result =>
        {
            var (first, second) = (result.GetValue(argument), result.GetValue(same));
            if (first is not null && second is not null)
            {
                result.AddError($"{name} is given twice: '{first}' and {option}");
            }
            else if (isRequired && first is null && second is null)
            {
                result.AddError($"{name} is missing: give it, or {option} {help}");
            }
        });
        return parsed => parsed.GetValue(argument) ?? parsed.GetValue(same);
    }

    /// <summary>A time given in seconds; null when it was not given.</summary>
    /// <exception cref="UsageException">It is no time.</exception>
    public static TimeSpan? ReadSeconds(string option, double? seconds) => seconds switch
    {
        null => null,
        > 0 and < 1e6 => TimeSpan.FromSeconds(seconds.Value),
        _ => throw new UsageException($"{option} is a number of seconds over zero"),
    };

    /// <summary>Reads virsh's <c>DISK[,KEY=VALUE]…</c>.</summary>
    /// <param name="text">The text.</param>
    /// <param name="usage">What may stand there.</param>
    /// <param name="disk">Makes the disk from its name.</param>
    /// <param name="set">Sets one pair; null when there is no such pair.</param>
    /// <exception cref="UsageException">It names no disk, or has something else.</exception>
    public static T ReadDiskSpec<T>(string text, string usage, Func<string, T> disk, Func<T, string, T?> set)
        where T : class
    {
        string[] parts = text.Split(',');
        if (parts[0].Length == 0)
        {
            throw new UsageException($"--diskspec '{text}' names no disk");
        }

        return parts.Skip(1).Aggregate(disk(parts[0]), (made, part) =>
            set(made, part) ?? throw new UsageException($"--diskspec '{text}': {usage}"));
    }
}
