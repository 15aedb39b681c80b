using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Qmp;

namespace Tidemark.Backup.Tests.Schemas;

/// <summary>What one QEMU said of its commands, as <c>tools/record-qmp-schema</c> recorded it; holds commands against
/// it.</summary>
internal sealed class QmpSchema
{
    private readonly JsonElement _types;

    private QmpSchema(string name, JsonElement types) => (Name, _types) = (name, types);

    internal string Name { get; }

    /// <summary>Every record of the project.</summary>
    internal static IReadOnlyList<QmpSchema> All { get; } = Read();

    internal bool Has(string command) => _types.TryGetProperty(command, out var type)
        && type.TryGetProperty("command", out _);

    /// <summary>Whether a member is known to a type that is reached by a command's argument.</summary>
    internal bool TakesArgument(string command, string argument) => Has(command)
        && Members(_types.GetProperty(_types.GetProperty(command).GetProperty("command").GetString()!))
            .Any(member => member.Name == argument);

    /// <summary>Why the QEMU would refuse a command, or null when it would understand it.</summary>
    internal string? Refuse(QmpCommand command) => Has(command.Name)
        ? RefuseValue(_types.GetProperty(command.Name).GetProperty("command").GetString()!, command.Arguments ?? [],
            command.Name)
        : $"there is no command {command.Name}";

    private static List<QmpSchema> Read()
    {
        var folder = Path.Combine(Path.GetDirectoryName(Planning.Golden.Folder)!, "Schemas");
        return [.. Directory.EnumerateFiles(folder, "*.json").Order().Select(path =>
        {
            using var document = JsonDocument.Parse(File.ReadAllText(path));
            return new QmpSchema(Path.GetFileNameWithoutExtension(path), document.RootElement.Clone());
        })];
    }

    private static IEnumerable<(string Name, string Type, bool IsOptional)> Members(JsonElement type) =>
        type.GetProperty("members").EnumerateObject().Select(member =>
            (member.Name.TrimEnd('?'), member.Value.GetString()!, member.Name.EndsWith('?')));

    private string? RefuseValue(string typeName, JsonNode? value, string where)
    {
        var type = _types.GetProperty(typeName);
        if (type.TryGetProperty("builtin", out var builtin))
        {
            return FitsBuiltin(builtin.GetString()!, value) ? null : $"{where} is no {builtin}: {Show(value)}";
        }

        if (type.TryGetProperty("enum", out var values))
        {
            return value?.GetValueKind() == JsonValueKind.String
                && values.EnumerateArray().Any(known => known.GetString() == (string)value!)
                ? null
                : $"{where} is none of {values}: {Show(value)}";
        }

        if (type.TryGetProperty("array", out var items))
        {
            return value is JsonArray list
                ? list.Select((item, index) => RefuseValue(items.GetString()!, item, $"{where}[{index}]"))
                    .FirstOrDefault(problem => problem is not null)
                : $"{where} is no list: {Show(value)}";
        }

        if (type.TryGetProperty("alternate", out var choices))
        {
            var problems = choices.EnumerateArray().Select(choice => RefuseValue(choice.GetString()!, value, where));
            return problems.Contains(null) ? null : problems.Last();
        }

        return value is JsonObject data ? RefuseObject(type, data, where) : $"{where} is no object: {Show(value)}";
    }

    private string? RefuseObject(JsonElement type, JsonObject data, string where)
    {
        var members = Members(type).ToList();
        if (type.TryGetProperty("tag", out var tag))
        {
            var branch = (string?)data[tag.GetString()!];
            if (branch is not null && type.GetProperty("variants").TryGetProperty(branch, out var more))
            {
                members.AddRange(Members(_types.GetProperty(more.GetString()!)));
            }
        }

        foreach (var (name, _, isOptional) in members)
        {
            if (!isOptional && !data.ContainsKey(name))
            {
                return $"{where} lacks '{name}'";
            }
        }

        foreach (var (name, value) in data)
        {
            var member = members.Find(known => known.Name == name);
            if (member.Type is null)
            {
                // QEMU up to 5.2 describes object-add's properties as 'props', and takes them beside 'id' too.
                if (members.Exists(known => known is { Name: "props", Type: "any" }))
                {
                    continue;
                }

                return $"{where} has '{name}', which it does not know";
            }

            if (RefuseValue(member.Type, value, $"{where}.{name}") is { } problem)
            {
                return problem;
            }
        }

        return null;
    }

    private static bool FitsBuiltin(string builtin, JsonNode? value) => builtin switch
    {
        "string" => value?.GetValueKind() == JsonValueKind.String,
        "int" or "number" => value?.GetValueKind() == JsonValueKind.Number,
        "boolean" => value?.GetValueKind() is JsonValueKind.True or JsonValueKind.False,
        "null" => value is null,
        "value" => true,
        _ => throw new InvalidOperationException($"an unknown type: {builtin}"),
    };

    private static string Show(JsonNode? value) => value?.ToJsonString() ?? "null";
}
