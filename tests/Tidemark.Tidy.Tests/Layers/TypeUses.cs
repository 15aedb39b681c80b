using System.Collections.Immutable;
using System.Reflection;
using System.Reflection.Emit;
using System.Reflection.Metadata;
using System.Reflection.Metadata.Ecma335;
using System.Reflection.PortableExecutable;

namespace Tidemark.Tidy.Tests.Layers;

/// <summary>Reads from a built assembly which types the code of a namespace uses, by name.</summary>
/// <remarks>
/// Looked at: base types, fields, signatures, locals, and every token in the instructions (so a call of a static method
/// counts as a use of its type). Not looked at: attributes, which do nothing by themselves.
/// </remarks>
internal sealed class TypeUses : ISignatureTypeProvider<string, object?>
{
    private static readonly OpCode[] s_short = new OpCode[256];
    private static readonly OpCode[] s_long = new OpCode[256];

    private readonly MetadataReader _reader;
    private readonly PEReader _image;
    private readonly SortedSet<string> _used = new(StringComparer.Ordinal);

    static TypeUses()
    {
        foreach (var field in typeof(OpCodes).GetFields(BindingFlags.Public | BindingFlags.Static))
        {
            var code = (OpCode)field.GetValue(null)!;
            (code.Size == 1 ? s_short : s_long)[code.Value & 0xFF] = code;
        }
    }

    private TypeUses(PEReader image)
    {
        _image = image;
        _reader = image.GetMetadataReader();
    }

    /// <summary>The types used by each type of a namespace and of those below it, by the using type's name.</summary>
    public static IReadOnlyDictionary<string, IReadOnlyCollection<string>> Of(string assembly, string inNamespace)
    {
        using var stream = File.OpenRead(assembly);
        using var image = new PEReader(stream);
        var result = new SortedDictionary<string, IReadOnlyCollection<string>>(StringComparer.Ordinal);
        var reader = image.GetMetadataReader();
        foreach (var handle in reader.TypeDefinitions)
        {
            var outermost = handle;
            while (!reader.GetTypeDefinition(outermost).GetDeclaringType().IsNil)
            {
                outermost = reader.GetTypeDefinition(outermost).GetDeclaringType();
            }

            var space = reader.GetString(reader.GetTypeDefinition(outermost).Namespace);
            if (space != inNamespace && !space.StartsWith($"{inNamespace}.", StringComparison.Ordinal))
            {
                continue;
            }

            var uses = new TypeUses(image);
            uses.Read(reader.GetTypeDefinition(handle));
            result[uses.NameOf(handle)] = uses._used;
        }

        return result;
    }

    public string GetArrayType(string elementType, ArrayShape shape) => elementType;

    public string GetByReferenceType(string elementType) => elementType;

    public string GetFunctionPointerType(MethodSignature<string> signature) => "function pointer";

    public string GetGenericInstantiation(string genericType, ImmutableArray<string> typeArguments) => genericType;

    public string GetGenericMethodParameter(object? genericContext, int index) => $"!!{index}";

    public string GetGenericTypeParameter(object? genericContext, int index) => $"!{index}";

    public string GetModifiedType(string modifier, string unmodifiedType, bool isRequired) => unmodifiedType;

    public string GetPinnedType(string elementType) => elementType;

    public string GetPointerType(string elementType) => elementType;

    public string GetPrimitiveType(PrimitiveTypeCode typeCode) => $"System.{typeCode}";

    public string GetSZArrayType(string elementType) => elementType;

    public string GetTypeFromDefinition(MetadataReader reader, TypeDefinitionHandle handle, byte rawTypeKind) =>
        Use(NameOf(handle));

    public string GetTypeFromReference(MetadataReader reader, TypeReferenceHandle handle, byte rawTypeKind) =>
        Use(NameOf(handle));

    public string GetTypeFromSpecification(
        MetadataReader reader, object? genericContext, TypeSpecificationHandle handle, byte rawTypeKind) =>
        reader.GetTypeSpecification(handle).DecodeSignature(this, genericContext);

    private static int OperandSize(OpCode code, ReadOnlySpan<byte> operand) => code.OperandType switch
    {
        OperandType.InlineNone => 0,
        OperandType.ShortInlineBrTarget or OperandType.ShortInlineI or OperandType.ShortInlineVar => 1,
        OperandType.InlineVar => 2,
        OperandType.InlineI8 or OperandType.InlineR => 8,
        OperandType.InlineSwitch => 4 + (4 * BitConverter.ToInt32(operand)),
        _ => 4,
    };

    private void Read(TypeDefinition type)
    {
        Use(type.BaseType);
        foreach (var implementation in type.GetInterfaceImplementations())
        {
            Use(_reader.GetInterfaceImplementation(implementation).Interface);
        }

        foreach (var field in type.GetFields())
        {
            _reader.GetFieldDefinition(field).DecodeSignature(this, null);
        }

        foreach (var handle in type.GetMethods())
        {
            var method = _reader.GetMethodDefinition(handle);
            method.DecodeSignature(this, null);
            if (method.RelativeVirtualAddress != 0)
            {
                Read(_image.GetMethodBody(method.RelativeVirtualAddress));
            }
        }
    }

    private void Read(MethodBodyBlock body)
    {
        if (!body.LocalSignature.IsNil)
        {
            _reader.GetStandaloneSignature(body.LocalSignature).DecodeLocalSignature(this, null);
        }

        var instructions = body.GetILBytes().AsSpan();
        for (var position = 0; position < instructions.Length;)
        {
            var first = instructions[position];
            var code = first == 0xFE ? s_long[instructions[position + 1]] : s_short[first];
            position += code.Size;
            if (code.OperandType is OperandType.InlineField or OperandType.InlineMethod or OperandType.InlineTok
                or OperandType.InlineType)
            {
                Use((EntityHandle)MetadataTokens.Handle(BitConverter.ToInt32(instructions[position..])));
            }

            position += OperandSize(code, instructions[position..]);
        }
    }

    private void Use(EntityHandle handle)
    {
        switch (handle.Kind)
        {
            case HandleKind.TypeReference:
                Use(NameOf((TypeReferenceHandle)handle));
                break;
            case HandleKind.TypeDefinition when !handle.IsNil:
                Use(NameOf((TypeDefinitionHandle)handle));
                break;
            case HandleKind.TypeSpecification:
                _reader.GetTypeSpecification((TypeSpecificationHandle)handle).DecodeSignature(this, null);
                break;
            case HandleKind.MemberReference:
                Use(_reader.GetMemberReference((MemberReferenceHandle)handle).Parent);
                break;
            case HandleKind.MethodSpecification:
                Use(_reader.GetMethodSpecification((MethodSpecificationHandle)handle).Method);
                break;
            case HandleKind.MethodDefinition:
                Use(_reader.GetMethodDefinition((MethodDefinitionHandle)handle).GetDeclaringType());
                break;
        }
    }

    private string Use(string name)
    {
        _used.Add(name);
        return name;
    }

    private string NameOf(TypeReferenceHandle handle)
    {
        var type = _reader.GetTypeReference(handle);
        return type.ResolutionScope.Kind == HandleKind.TypeReference
            ? $"{NameOf((TypeReferenceHandle)type.ResolutionScope)}+{_reader.GetString(type.Name)}"
            : $"{_reader.GetString(type.Namespace)}.{_reader.GetString(type.Name)}";
    }

    private string NameOf(TypeDefinitionHandle handle)
    {
        var type = _reader.GetTypeDefinition(handle);
        return type.GetDeclaringType().IsNil
            ? $"{_reader.GetString(type.Namespace)}.{_reader.GetString(type.Name)}"
            : $"{NameOf(type.GetDeclaringType())}+{_reader.GetString(type.Name)}";
    }
}
