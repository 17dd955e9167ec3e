#!/usr/bin/env escript
%% The package as Hex has it, and a look at one.
%%
%%   escript scripts/hex-tarball.escript create TARBALL DIRECTORY APP-SRC ELIXIR-REQUIREMENT URL FILE...
%%   escript scripts/hex-tarball.escript unpack TARBALL DIRECTORY
%%
%% An uncompressed tar of VERSION ("3"), CHECKSUM, metadata.config, contents.tar.gz; the checksum is SHA-256 of the three others, in base 16.
%% (github.com/hexpm/specifications, package_tarball.md) `unpack' refuses what differs from that, and prints what the metadata says.
-mode(compile).

-define(VERSION, <<"3">>).
%% 1 January 2000. Not zero: mix takes a file of 1970 for one that has been compiled.
-define(LONG_AGO, 946684800).

main(["create", Tarball, Directory, AppSrc, Elixir, Url | Files]) ->
    {ok, [{application, App, Properties}]} = file:consult(AppSrc),
    Metadata = metadata(App, Properties, Elixir, Url, Files),
    Encoded = unicode:characters_to_binary([io_lib:format("~tp.~n", [Pair]) || Pair <- Metadata]),
    Contents = tar([{File, filename:join(Directory, File)} || File <- Files], [compressed]),
    Checksum = binary:encode_hex(crypto:hash(sha256, [?VERSION, Encoded, Contents])),
    ok = file:write_file(Tarball, tar([{"VERSION", ?VERSION}, {"CHECKSUM", Checksum}, {"metadata.config", Encoded}, {"contents.tar.gz", Contents}], []));
main(["unpack", Tarball, Directory]) ->
    {ok, Outer} = erl_tar:extract(Tarball, [memory]),
    [Checksum, ?VERSION, Contents, Encoded] = [Content || {_, Content} <- lists:sort(Outer)],
    ["CHECKSUM", "VERSION", "contents.tar.gz", "metadata.config"] = lists:sort([Name || {Name, _} <- Outer]),
    Checksum = binary:encode_hex(crypto:hash(sha256, [?VERSION, Encoded, Contents])),
    ok = erl_tar:extract({binary, Contents}, [compressed, {cwd, Directory}]),
    Metadata = terms(Encoded),
    Files = lists:sort([unicode:characters_to_list(File) || File <- proplists:get_value(<<"files">>, Metadata)]),
    {ok, Names} = erl_tar:table({binary, Contents}, [compressed]),
    Files = lists:sort(Names),
    [_ | _] = proplists:get_value(<<"licenses">>, Metadata),
    [io:format("~ts~n", [lists:join(" ", [Value || Key <- [<<"name">>, <<"version">>], {_, Value} <- [proplists:lookup(Key, Metadata)]])])].

metadata(App, Properties, Elixir, Url, Files) ->
    Text = fun unicode:characters_to_binary/1,
    Name = atom_to_binary(App),
    Links = [{Text(Link), Text(To)} || {Link, To} <- proplists:get_value(links, Properties, [])] ++ [{<<"Source">>, Text(Url)} || Url =/= ""],
    [
        {<<"name">>, Name},
        {<<"app">>, Name},
        {<<"version">>, Text(proplists:get_value(vsn, Properties))},
        {<<"description">>, Text(proplists:get_value(description, Properties))},
        {<<"licenses">>, [Text(License) || License <- proplists:get_value(licenses, Properties)]},
        {<<"links">>, Links},
        {<<"build_tools">>, [<<"rebar3">>, <<"mix">>]},
        {<<"elixir">>, Text(Elixir)},
        {<<"requirements">>, []},
        {<<"files">>, [Text(File) || File <- Files]}
    ].

%% Nothing of who made it, and when: the same commit gives the same package.
tar(Entries, Options) ->
    File = filename:join(["/tmp", "hex-tarball." ++ os:getpid()]),
    {ok, Tar} = erl_tar:open(File, [write | Options]),
    Times = [{atime, ?LONG_AGO}, {mtime, ?LONG_AGO}, {ctime, ?LONG_AGO}, {uid, 0}, {gid, 0}],
    [ok = erl_tar:add(Tar, Content, Name, [dereference | Times]) || {Name, Content} <- Entries],
    ok = erl_tar:close(Tar),
    {ok, Made} = file:read_file(File),
    ok = file:delete(File),
    Made.

terms(Encoded) ->
    {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Encoded)),
    each(Tokens, []).

each([], []) -> [];
each([{dot, _} = Dot | Tokens], Seen) ->
    {ok, Term} = erl_parse:parse_term(lists:reverse(Seen, [Dot])),
    [Term | each(Tokens, [])];
each([Token | Tokens], Seen) -> each(Tokens, [Token | Seen]).
