#!/usr/bin/env escript
%%! -noinput
%% A BEAM for the Python tests to ask: what does Erlang make of these bytes? Packets of four bytes' length, both ways;
%% a request is an operation and its operand, an answer is `$+' and the result, or `$-' and the reason. Ends with its input.
-mode(compile).

main([]) ->
    loop(open_port({fd, 0, 1}, [binary, {packet, 4}, eof])).

loop(Port) ->
    receive
        {Port, {data, <<Operation, Operand/binary>>}} ->
            Answer =
                try
                    [$+, answer(Operation, Operand)]
                catch
                    _:Reason -> [$-, io_lib:format("~0p", [Reason])]
                end,
            port_command(Port, Answer),
            loop(Port);
        {Port, eof} ->
            halt(0)
    end.

%% There and back, as this release writes, and in three other spellings.
answer($t, Bytes) -> term_to_binary(binary_to_term(Bytes));
answer($0, Bytes) -> term_to_binary(binary_to_term(Bytes), [{minor_version, 0}]);
answer($2, Bytes) -> term_to_binary(binary_to_term(Bytes), [{minor_version, 2}]);
answer($z, Bytes) -> term_to_binary(binary_to_term(Bytes), [{compressed, 9}]);
%% Whether the bytes are a term.
answer($s, Bytes) -> [_ = binary_to_term(Bytes, [safe]), "ok"];
%% Whether two are the same term.
answer($=, <<Size:32, One:Size/binary, Other/binary>>) ->
    atom_to_list(binary_to_term(One) =:= binary_to_term(Other));
%% A term as text.
answer($p, Bytes) -> unicode:characters_to_binary(io_lib:format("~tw", [binary_to_term(Bytes)]));
%% The term that an expression stands for.
answer($e, Text) ->
    {ok, Tokens, _} = erl_scan:string(unicode:characters_to_list(Text)),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {value, Value, _} = erl_eval:exprs(Expressions, []),
    term_to_binary(Value).
