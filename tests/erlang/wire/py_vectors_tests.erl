%% The golden vectors, `tests/vectors/terms.txt', from Erlang's side: the bytes are the term that the text says.
%% (What Python refuses, `refused.txt', is no concern of Erlang's: it reads some of it.)
-module(py_vectors_tests).

-include_lib("eunit/include/eunit.hrl").

vectors_test_() ->
    Rows = rows(find("tests/vectors/terms.txt")),
    [
        {"there are vectors", ?_assert(length(Rows) > 100)}
        | [{Name, ?_assertEqual(value(Text), binary_to_term(Bytes))} || {Name, Bytes, Text} <- Rows]
    ].

every_tag_of_a_whole_term_has_a_vector_test() ->
    Tags = [Tag || {_, <<131, Tag, _/binary>>, _} <- rows(find("tests/vectors/terms.txt"))],
    Expected =
        [70, 77, 80, 88, 89, 90] ++ lists:seq(97, 113) ++ [114, 115, 116, 118, 119, 120],
    ?assertEqual([], Expected -- lists:usort(Tags)).

rows(File) ->
    {ok, Content} = file:read_file(File),
    [row(Line) || <<Head, _/binary>> = Line <- binary:split(Content, <<"\n">>, [global]), Head =/= $#].

row(Line) ->
    [Name, _Direction, _Flags, Hex, Text, _Python] = binary:split(Line, <<"\t">>, [global]),
    {binary_to_list(Name), binary:decode_hex(Hex), Text}.

value(Text) ->
    {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list([Text, "."])),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {value, Value, _} = erl_eval:exprs(Expressions, []),
    Value.

%% rebar3 runs the tests from the root; a shell may stand deeper.
find(Path) ->
    {ok, Directory} = file:get_cwd(),
    find(Directory, Path).

find(Directory, Path) ->
    File = filename:join(Directory, Path),
    case {filelib:is_regular(File), filename:dirname(Directory)} of
        {true, _} -> File;
        {false, Directory} -> error({not_found, Path});
        {false, Parent} -> find(Parent, Path)
    end.
