using System.Numerics;
using System.Security.Cryptography;
using Tidemark.Repository.Crypto;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Repository.Tests.Crypto;

public sealed class BlobCipherTests
{
    // D. J. Bernstein, "The Poly1305-AES message-authentication code", appendix B: message, r, k, nonce, tag.
    [Theory]
    [InlineData(
        "f3f6",
        "851fc40c3467ac0be05cc20404f3f700", "ec074c835580741701425b623235add6",
        "fb447350c4e868c52ac3275cf9d4327e", "f4c633c3044fc145f84f335cb81953de")]
    [InlineData(
        "",
        "a0f3080000f46400d0c7e9076c834403", "75deaa25c09f208e1dc4ce6b5cad3fbf",
        "61ee09218d29b0aaed7e154a2c5509cc", "dd3fab2251f11ac759f0887129cc2ee7")]
    [InlineData(
        "663cea190ffb83d89593f3f476b6bc24d7e679107ea26adb8caf6652d0656136",
        "48443d0bb0d21109c89a100b5ce2c208", "6acb5f61a7176dd320c5c1eb2edcdc74",
        "ae212a55399729595dea458bc621ff0e", "0ee1c16bb73f0f4fd19881753c01cdbe")]
    public void The_tag_is_Poly1305_AES(string message, string r, string k, string nonce, string tag)
    {
        var key = RepositoryKey.TryCreate(Bytes(new string('1', 64)), Bytes(k), Bytes(r))!;
        using var cipher = new BlobCipher(key);
        var plaintext = new byte[message.Length / 2];
        Assert.True(cipher.TryOpen(Bytes(nonce + message + tag), plaintext));
        Assert.False(cipher.TryOpen(Bytes(nonce + message + tag[..^1] + (tag[^1] == '0' ? '1' : '0')), plaintext));
    }

    // NIST SP 800-38A, F.5.5: CTR-AES256.Encrypt.
    [Fact]
    public void The_ciphertext_is_AES_256_in_counter_mode()
    {
        var key = RepositoryKey.TryCreate(
            Bytes("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"),
            Bytes(new string('1', 32)),
            Bytes(new string('2', 32)))!;
        using var cipher = new BlobCipher(key);
        var plaintext = Bytes(
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
            + "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710");
        var message = new byte[plaintext.Length + BlobCipher.Overhead];
        Bytes("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff").CopyTo(message, 0);
        cipher.SealWithNonce(plaintext, message);
        Assert.Equal(
            "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
            + "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6",
            Convert.ToHexStringLower(message.AsSpan(16, plaintext.Length)));
    }

    [Theory]
    [InlineData("ffffffffffffffffffffffffffffffff")]
    [InlineData("00000000000000ffffffffffffffffff")]
    [InlineData("0123456789abcdeffffffffffffff000")]
    public void The_counter_is_one_number_of_128_bits(string nonce)
    {
        var encryption = RandomNumberGenerator.GetBytes(32);
        var key = RepositoryKey.TryCreate(encryption, Bytes(new string('1', 32)), Bytes(new string('2', 32)))!;
        using var cipher = new BlobCipher(key);
        using var aes = Aes.Create();
        aes.Key = encryption;
        var message = new byte[100_007 + BlobCipher.Overhead];
        Bytes(nonce).CopyTo(message, 0);
        cipher.SealWithNonce(new byte[100_007], message);

        var counter = new BigInteger(Bytes(nonce), isUnsigned: true, isBigEndian: true);
        var block = new byte[16];
        for (var offset = 0; offset < 100_007; offset += 16, counter = (counter + 1) % (BigInteger.One << 128))
        {
            Array.Clear(block);
            var digits = counter.ToByteArray(isUnsigned: true, isBigEndian: true);
            digits.CopyTo(block, 16 - digits.Length);
            var expected = aes.EncryptEcb(block, PaddingMode.None);
            var length = Math.Min(16, 100_007 - offset);
            Assert.True(message.AsSpan(16 + offset, length).SequenceEqual(expected.AsSpan(0, length)), $"at {offset}");
        }
    }

    [Fact]
    public void What_was_sealed_opens_and_what_was_changed_does_not() => TestSeed.Run(random =>
    {
        using var cipher = new BlobCipher(RepositoryKey.Generate());
        using var other = new BlobCipher(RepositoryKey.Generate());
        foreach (var length in new[] { 0, 1, 15, 16, 17, 31, 33, 4095, 32 << 10, (32 << 10) + 1, 200_001 })
        {
            var plaintext = new byte[length];
            random.NextBytes(plaintext);
            var message = new byte[length + BlobCipher.Overhead];
            cipher.Seal(plaintext, message);
            var opened = new byte[length];
            Assert.False(other.TryOpen(message, opened));
            Assert.True(cipher.TryOpen(message, opened));
            Assert.Equal(plaintext, opened);

            message[random.Next(message.Length)] ^= (byte)(1 << random.Next(8));
            Assert.False(cipher.TryOpen(message, opened));
            Assert.False(cipher.TryOpen(message.AsSpan(0, Math.Min(message.Length, 31)), []));
        }
    });

    [Fact]
    public void A_message_opens_in_its_own_memory()
    {
        using var cipher = new BlobCipher(RepositoryKey.Generate());
        var plaintext = RandomNumberGenerator.GetBytes(70_000);
        var message = new byte[plaintext.Length + BlobCipher.Overhead];
        cipher.Seal(plaintext, message);
        var own = message.AsSpan(BlobCipher.NonceLength, plaintext.Length);
        Assert.True(cipher.TryOpen(message, own));
        Assert.True(own.SequenceEqual(plaintext));
    }

    private static byte[] Bytes(string digits) => Convert.FromHexString(digits);
}
